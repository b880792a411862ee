#include <algorithm>
#include <atomic>
#include <vector>

#include "parallel.h"
#include "rank_key.h"
#include "retrieval.h"
#include "retrieval_counter.h"

namespace crosscam {

void retrieval_ranks(const RetrievalLabels& labels, const float* distances, int64_t stride,
                     int threads, const RetrievalResult& result) {
  const IdentityIndex index(labels);
  std::atomic<int64_t> next{0};
  const int64_t queries = labels.query_count;
  const auto workers = static_cast<int>(std::min<int64_t>(worker_count(threads), queries));
  run_workers(workers, [&](int) {
    std::vector<int64_t> counts;
    for (int64_t query = next++; query < queries; query = next++) {
      const float* const distance = distances + query * stride;
      RankCounter counter;
      const auto [first, last] = index.range(labels.query_id[query]);
      for (size_t at = first; at < last; ++at) {
        const int64_t row = index.rows()[at];
        counter.own(rank_key(-distance[row], row), is_positive(labels, query, row));
      }
      counter.sort();
      counts.assign(counter.size() + 1, 0);
      const float lowest = counter.lowest();
      for (int64_t row = 0; row < labels.gallery_count; ++row) {
        // Written so that a lowest score of NaN lets everything through.
        if (-distance[row] < lowest || (labels.valid != nullptr && labels.valid[row] == 0))
          continue;
        ++counts[counter.place(rank_key(-distance[row], row))];
      }
      counter.uncount_junk(counts.data());
      counter.finish(counts.data(), result, query);
    }
  });
}

}  // namespace crosscam
