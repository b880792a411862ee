#include "topk.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "parallel.h"
#include "topk_rescore.h"
#include "topk_scan.h"

namespace crosscam {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kFewQueries = 4;       // up to which rows are read as they lie in memory
constexpr int64_t kMemoryBound = 32;     // queries up to which fp32 rows come no faster than used
constexpr int64_t kFirstPassRows = 512;  // smaller galleries are computed as defined at once
constexpr int64_t kFirstPassShare = 16;  // and so are searches for more than 1 / 16 of the rows
constexpr int64_t kRescoreFeatures = 1 << 20;  // per thread that helps to rescore

/// Where the results of a call go, row by row.
struct Results {
  int64_t k;
  float* similarity;
  int64_t* index;

  /// Writes the best k of `items`, then the padding.
  void write(int64_t query, std::vector<Candidate>& items) const {
    const auto found = std::min<int64_t>(k, static_cast<int64_t>(items.size()));
    std::partial_sort(items.begin(), items.begin() + found, items.end(), better);
    for (int64_t i = 0; i < k; ++i) {
      const bool real = i < found;
      similarity[query * k + i] = real ? items[static_cast<size_t>(i)].similarity : -kInfinity;
      index[query * k + i] = real ? items[static_cast<size_t>(i)].index : -1;
    }
  }
};

/// Every pair as it is defined, in one pass.
void search_as_defined(const TopkProblem& problem, const Results& results) {
  TopkEngine engine;
  engine.word =
      problem.gallery.element == Element::kInt8 ? TopkWord::kInt8Quad : TopkWord::kFloatChain;
  engine.kernels = topk_kernels(problem.simd, engine.word, problem.gallery.element, problem.dot);
  const PackedQueries packed(problem, engine);
  const TopkMask mask(problem, packed.block());
  TopkScan scan{problem, engine, packed, mask};
  std::vector<Scanner> scanners = scan_gallery(scan);
  std::vector<Candidate> merged;
  for (int64_t query = 0; query < problem.query_count; ++query) {
    merged.clear();
    for (Scanner& scanner : scanners) {
      const auto& items = scanner.found(query).heap.items();
      merged.insert(merged.end(), items.begin(), items.end());
    }
    results.write(query, merged);
  }
}

/// The engine of a first pass; without kernels when there is none that pays.
TopkEngine first_pass(const TopkProblem& problem) {
  TopkEngine engine;
  if (problem.gallery_count < kFirstPassRows ||
      problem.k > problem.gallery_count / kFirstPassShare) {
    return engine;
  }
  const Element element = problem.gallery.element;
  if (element == Element::kInt8 && problem.exact.data == nullptr) return engine;
  if (problem.query_count <= kFewQueries) {
    engine.word = TopkWord::kFloatLanes;
  } else if (element == Element::kInt8) {
    engine.word = TopkWord::kInt8Quad;
  } else if (problem.query_count > kMemoryBound || element != Element::kFloat32) {
    engine.word = TopkWord::kBf16Pair;
  } else {
    return engine;
  }
  engine.kernels = topk_kernels(problem.simd, engine.word, element, problem.dot);
  return engine;
}

/// Rescores the candidates of all scanners.
///
/// @return Queries whose results could not be proven; their rows are not written.
std::vector<int64_t> rescore(const TopkProblem& problem, std::vector<Scanner>& scanners,
                             const ErrorBound& bound, const Results& results) {
  int64_t candidates = 0;
  for (int64_t query = 0; query < problem.query_count; ++query) {
    for (Scanner& scanner : scanners) {
      candidates += static_cast<int64_t>(scanner.found(query).near.size());
    }
  }
  const int64_t helpful = 1 + candidates * problem.dim / kRescoreFeatures;
  const auto workers = static_cast<int>(
      std::min({helpful, problem.query_count, int64_t{worker_count(problem.threads)}}));
  std::vector<uint8_t> unproven(static_cast<size_t>(problem.query_count), 0);
  std::atomic<int64_t> next{0};
  run_workers(workers, [&](int) {
    Rescorer rescorer(problem);
    std::vector<Candidate> near, best;
    TopkHeap reached;
    for (int64_t query = next++; query < problem.query_count; query = next++) {
      near.clear();
      reached = {};
      for (Scanner& scanner : scanners) {
        const TopkFound& found = scanner.found(query);
        for (const Candidate& item : found.heap.items()) {
          reached.push(item, static_cast<size_t>(problem.k));
        }
        if (found.overflow) unproven[static_cast<size_t>(query)] = 1;
        near.insert(near.end(), found.near.begin(), found.near.end());
      }
      if (unproven[static_cast<size_t>(query)] != 0) continue;
      const double lowest = reached.threshold(static_cast<size_t>(problem.k)) - bound.of_dot(query);
      best = rescorer.best(query, near, bound.of(query), lowest);
      results.write(query, best);
    }
  });
  std::vector<int64_t> queries;
  for (int64_t query = 0; query < problem.query_count; ++query) {
    if (unproven[static_cast<size_t>(query)] != 0) queries.push_back(query);
  }
  return queries;
}

/// Searches as defined, over the exact rows, for some of the queries.
void search_some(const TopkProblem& problem, const std::vector<int64_t>& queries,
                 const Results& results) {
  const auto count = static_cast<int64_t>(queries.size());
  TopkProblem part = problem;
  if (problem.exact.data != nullptr) {
    part.gallery = problem.exact;
    part.gallery_scale = nullptr;
    part.exact = {};
  }
  std::vector<float> features(static_cast<size_t>(count * problem.dim));
  std::vector<int32_t> cameras(problem.query_camera != nullptr ? queries.size() : 0);
  std::vector<int64_t> times(problem.query_time != nullptr ? queries.size() : 0);
  for (size_t i = 0; i < queries.size(); ++i) {
    std::copy_n(problem.queries + queries[i] * problem.query_stride, problem.dim,
                features.begin() + static_cast<std::ptrdiff_t>(i) * problem.dim);
    if (!cameras.empty()) cameras[i] = problem.query_camera[queries[i]];
    if (!times.empty()) times[i] = problem.query_time[queries[i]];
  }
  part.queries = features.data();
  part.query_count = count;
  part.query_stride = problem.dim;
  if (!cameras.empty()) part.query_camera = cameras.data();
  if (!times.empty()) part.query_time = times.data();
  std::vector<float> similarity(static_cast<size_t>(count * problem.k));
  std::vector<int64_t> index(similarity.size());
  search_as_defined(part, {problem.k, similarity.data(), index.data()});
  for (size_t i = 0; i < queries.size(); ++i) {
    const auto from = static_cast<std::ptrdiff_t>(i) * problem.k;
    std::copy_n(similarity.begin() + from, problem.k, results.similarity + queries[i] * problem.k);
    std::copy_n(index.begin() + from, problem.k, results.index + queries[i] * problem.k);
  }
}

}  // namespace

void similarity_topk(const TopkProblem& problem, float* similarity, int64_t* index) {
  if (problem.query_count == 0 || problem.k == 0) return;
  const Results results{problem.k, similarity, index};
  std::vector<int64_t> left(static_cast<size_t>(problem.query_count));
  for (size_t i = 0; i < left.size(); ++i) left[i] = static_cast<int64_t>(i);

  const TopkEngine engine = first_pass(problem);
  if (engine.kernels == nullptr && problem.exact.data == nullptr) {
    search_as_defined(problem, results);
    return;
  }
  if (engine.kernels != nullptr) {
    const PackedQueries packed(problem, engine);
    const TopkMask mask(problem, packed.block());
    const ErrorBound bound(problem, engine, packed, mask);
    TopkScan scan{problem, engine, packed, mask, &bound};
    std::vector<Scanner> scanners = scan_gallery(scan);
    if (!scan.broken) left = rescore(problem, scanners, bound, results);
  }
  if (!left.empty()) search_some(problem, left, results);
}

}  // namespace crosscam
