#pragma once

#include <cstdint>

namespace crosscam {

enum class Reduction { kNone, kMean, kMeanActive };

/// Hinge max(0, d_p - d_n + margin), or softplus log(1 + exp(d_p - d_n)) when `soft`.
struct TripletMargin {
  bool soft = false;
  float margin = 0.0f;
};

/// Loss of each anchor and its derivative with respect to d_p (that of d_n is the opposite).
///
/// An anchor without a positive (d_p = -inf) or without a negative (d_n = +inf) has neither.
///
/// @param loss out (N,)
/// @param slope out (N,)
void triplet_terms(const float* positive_distance, const float* negative_distance, int64_t count,
                   TripletMargin margin, float* loss, float* slope);

/// One over the number of anchors with both a positive and a negative (kMean) or with a loss above
/// zero (kMeanActive); zero when there are none. One for kNone.
float triplet_scale(const float* positive_distance, const float* negative_distance,
                    const float* loss, int64_t count, Reduction reduction);

/// Sum of the losses, in the order of the anchors.
double triplet_sum(const float* loss, int64_t count);

}  // namespace crosscam
