#pragma once

#include <cstdint>
#include <vector>

#include "topk_mask.h"
#include "topk_queries.h"

namespace crosscam {

/// How far a similarity of the first pass can be from the defined one.
///
/// With q' and g' the packed forms: |q.g - q'.g'| <= |q - q'| |g'| + |q . (g - g')|, plus the
/// rounding of both sums. The bound of a query holds for every gallery row no longer than
/// `limit()`, which is guessed from a sample and checked for each row of the scan.
class ErrorBound {
 public:
  ErrorBound(const TopkProblem& problem, const TopkEngine& engine, const PackedQueries& packed,
             const TopkMask& mask);

  /// Largest squared norm of a row (as packed) for which the bounds hold.
  float limit() const { return limit_; }

  /// Bound for one query; infinite when there is none (the query is not finite, say).
  double of(int64_t query) const { return bound_[static_cast<size_t>(query)]; }

  /// Bound for RowKernels::dot of the query and the row from which results are defined.
  double of_dot(int64_t query) const { return dot_bound_[static_cast<size_t>(query)]; }

 private:
  float limit_ = 0.0f;
  std::vector<double> bound_, dot_bound_;
};

}  // namespace crosscam
