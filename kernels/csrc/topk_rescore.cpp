#include "topk_rescore.h"

#include <algorithm>
#include <limits>

namespace crosscam {
Rescorer::Rescorer(const TopkProblem& problem)
    : problem_(problem),
      matrix_(problem.exact.data != nullptr ? problem.exact : problem.gallery),
      kernels_(row_kernels(problem.simd)),
      k_(static_cast<size_t>(problem.k)),
      scratch_(matrix_.element == Element::kFloat32
                   ? 0
                   : static_cast<size_t>(kChainRows * problem.dim)) {}

const std::vector<Candidate>& Rescorer::best(int64_t query, std::vector<Candidate>& near,
                                             double bound, double lowest) {
  heap_ = {};
  std::erase_if(near, [=](const Candidate& c) { return c.similarity + bound < lowest; });
  std::sort(near.begin(), near.end(), better);
  const float* const features = problem_.queries + query * problem_.query_stride;
  for (size_t at = 0; at < near.size(); at += kChainRows) {
    // A row that cannot reach the k-th best defined similarity, nor any row after it, is no result.
    if (near[at].similarity + bound < heap_.threshold(k_)) break;
    score(features, near.data() + at, std::min<size_t>(kChainRows, near.size() - at));
  }
  return heap_.items();
}

void Rescorer::score(const float* query, const Candidate* items, size_t count) {
  const float* rows[kChainRows];
  float similarity[kChainRows];
  for (size_t i = 0; i < kChainRows; ++i) {
    rows[i] = i < count
                  ? widened(matrix_, items[i].index, problem_.dim, kernels_,
                            scratch_.data() +
                                (scratch_.empty() ? 0 : i * static_cast<size_t>(problem_.dim)))
                  : rows[0];
  }
  kernels_.chain(rows, query, problem_.dim, similarity);
  for (size_t i = 0; i < count; ++i) {
    if (similarity[i] > -std::numeric_limits<float>::infinity()) {
      heap_.push({similarity[i], items[i].index}, k_);
    }
  }
}

}  // namespace crosscam
