#include "rerank.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <vector>

#include "dense.h"
#include "parallel.h"
#include "rank_key.h"

namespace crosscam {
namespace {

constexpr int64_t kRowsPerProduct = 64;  // gallery rows scored at a time

/// One thread's scratch memory and the steps for a block of queries.
class Combiner {
 public:
  Combiner(const RerankDistances& problem)
      : problem_(problem),
        queries_(problem.simd, 64, problem.metric.dim),
        gallery_{problem.metric.right + problem.query_count * problem.metric.right_stride,
                 problem.gallery_count, problem.metric.right_stride},
        products_(static_cast<size_t>(kRowsPerProduct * 64)) {}

  int64_t block_rows() const { return queries_.block_rows(); }

  /// Writes the distances of queries [begin, begin + count) to rows of `out`.
  void run(int64_t begin, int64_t count, float* out) {
    for (int64_t q = 0; q < count; ++q) {
      jaccard(begin + q, out + q * problem_.gallery_count);
    }
    if (problem_.lambda != 0.0f) add_distances(begin, count, out);
  }

  /// The k smallest of one row of distances, which is kept.
  void best(const float* row, int64_t k, float* distance, int64_t* index) {
    keys_.clear();
    for (int64_t g = 0; g < problem_.gallery_count; ++g) keys_.push_back(rank_key(-row[g], g));
    const auto found = std::min<int64_t>(k, problem_.gallery_count);
    std::partial_sort(keys_.begin(), keys_.begin() + found, keys_.end(), std::greater<>());
    for (int64_t a = 0; a < k; ++a) {
      const int64_t g =
          a < found ? 0xFFFFFFFF -
                          static_cast<int64_t>(static_cast<uint32_t>(keys_[static_cast<size_t>(a)]))
                    : -1;
      index[a] = g;
      distance[a] = g < 0 ? std::numeric_limits<float>::infinity() : row[g];
    }
  }

 private:
  /// (1 - lambda) (1 - sum min / sum max). The rows of weights have sum 1, so the second sum is 2
  /// less the first, which only needs the columns that are in use on both sides.
  void jaccard(int64_t query, float* out) const {
    const SparseView& weights = problem_.weights;
    const SparseView& by_column = problem_.by_column;
    std::fill_n(out, problem_.gallery_count, 0.0f);
    for (int64_t a = weights.begin[query]; a < weights.begin[query + 1]; ++a) {
      const float weight = weights.value[a];
      const int64_t end = by_column.begin[weights.column[a] + 1];
      for (int64_t b = by_column.begin[weights.column[a]]; b < end; ++b) {
        out[by_column.column[b]] += std::min(weight, by_column.value[b]);
      }
    }
    for (int64_t g = 0; g < problem_.gallery_count; ++g) {
      out[g] = (1.0f - out[g] / (2.0f - out[g])) * (1.0f - problem_.lambda);
    }
  }

  void add_distances(int64_t begin, int64_t count, float* out) {
    const RerankMetric& metric = problem_.metric;
    queries_.pack({metric.left + begin * metric.left_stride, count, metric.left_stride});
    for (int64_t from = 0; from < gallery_.count; from += kRowsPerProduct) {
      const int64_t rows = std::min(kRowsPerProduct, gallery_.count - from);
      dense_products(gallery_.slice(from, rows), queries_, 0, products_.data(), count);
      for (int64_t q = 0; q < count; ++q) {
        float* const to = out + q * problem_.gallery_count + from;
        for (int64_t r = 0; r < rows; ++r) {
          const float product = products_[static_cast<size_t>(r * count + q)];
          to[r] += metric.distance(begin + q, product) * problem_.lambda;
        }
      }
    }
  }

  const RerankDistances& problem_;
  PackedRows queries_;
  DenseRows gallery_;
  std::vector<float> products_;
  std::vector<uint64_t> keys_;
};

}  // namespace

void rerank_distances(const RerankDistances& problem, int64_t begin, int64_t end, float* distances,
                      int64_t k, float* best_distance, int64_t* best_index) {
  const int64_t width = problem.gallery_count;
  const int64_t step = PackedRows(problem.simd, 64, 1).block_rows();
  std::atomic<int64_t> next{0};
  const int64_t tasks = (end - begin + step - 1) / step;
  const auto workers = static_cast<int>(std::min<int64_t>(worker_count(problem.threads), tasks));
  run_workers(workers, [&](int) {
    Combiner combiner(problem);
    std::vector<float> scratch(distances == nullptr ? static_cast<size_t>(step * width) : 0);
    for (int64_t at = begin + step * next++; at < end; at = begin + step * next++) {
      const int64_t count = std::min(step, end - at);
      float* const rows = distances == nullptr ? scratch.data() : distances + (at - begin) * width;
      combiner.run(at, count, rows);
      for (int64_t q = 0; q < count && k > 0; ++q) {
        const int64_t row = at - begin + q;
        combiner.best(rows + q * width, k, best_distance + row * k, best_index + row * k);
      }
    }
  });
}

}  // namespace crosscam
