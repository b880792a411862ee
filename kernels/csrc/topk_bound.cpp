#include "topk_bound.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "topk_rows.h"

namespace crosscam {
namespace {

constexpr int64_t kSample = 64;
constexpr double kMargin = 1.05;   // of the longest sampled row; normalised rows hardly differ
constexpr double kLongest = 1e12;  // above, fp32 could overflow on the way
constexpr double kNone = std::numeric_limits<double>::infinity();

/// Euclidean norm of the longest row of a sample of those that some query may match.
double longest_of_sample(const TopkProblem& problem, const TopkEngine& engine,
                         const TopkMask& mask) {
  RowSource source(problem, engine, 1, 0.0f);
  const int64_t step = std::max<int64_t>(1, problem.gallery_count / kSample);
  double longest = 0.0;
  for (int64_t row = 0; row < problem.gallery_count; row += step) {
    if (mask.any() && !mask.row_allowed(row)) continue;
    longest = std::max(longest, std::sqrt(static_cast<double>(source.norm(row))));
  }
  return longest;
}

}  // namespace

ErrorBound::ErrorBound(const TopkProblem& problem, const TopkEngine& engine,
                       const PackedQueries& packed, const TopkMask& mask)
    : bound_(static_cast<size_t>(problem.query_count), kNone), dot_bound_(bound_) {
  const double longest = longest_of_sample(problem, engine, mask) * kMargin;
  if (!(longest <= kLongest)) return;
  limit_ = static_cast<float>(longest * longest);
  const auto dim = static_cast<double>(problem.dim);
  // The squared norm is summed in fp32: allow for its rounding.
  double row = longest * (1.0 + dim * 0x1p-23);  // |g'| and, below, |g|
  double row_rounding = 0.0;                     // |g - g'|
  double element_rounding = 0.0;                 // largest |g[d] - g'[d]|
  if (engine.word == TopkWord::kBf16Pair && problem.gallery.element != Element::kBfloat16) {
    row_rounding = row * 0x1p-8;  // `row` is the norm before rounding to 8 bits of significand
  } else if (problem.gallery.element == Element::kInt8) {
    float largest = 0.0f;
    for (int64_t n = 0; n < problem.gallery_count; ++n) {
      const float scale = problem.gallery_scale[n];
      if (mask.any() && !mask.row_allowed(n)) continue;
      if (!(scale >= 0.0f)) return;  // not made by quantise_rows, or of a row that is not finite
      largest = std::max(largest, scale);
    }
    element_rounding = largest * (0.5 + 0x1p-6);
    if (!(largest <= kLongest)) return;
    row += element_rounding * std::sqrt(dim);
  }
  // Both sums: one unit in the last place per addition at most. Subnormal numbers may be flushed.
  const double rounding = 2.0 * (dim + 8.0) * 0x1p-23;
  for (int64_t q = 0; q < problem.query_count; ++q) {
    const QueryError& query = packed.error(q);
    const double norm = query.norm + query.rounding;
    if (!(norm <= kLongest)) continue;
    const double sums =
        rounding * norm * (row + row_rounding) + dim * 0x1p-120 * (1.0 + norm + row);
    const double total = query.rounding * (row + row_rounding) + norm * row_rounding +
                         query.sum * element_rounding + sums;
    dot_bound_[static_cast<size_t>(q)] = sums * (1.0 + 0x1p-20);
    bound_[static_cast<size_t>(q)] = total * (1.0 + 0x1p-20);
  }
}

}  // namespace crosscam
