#pragma once

#include <cstdint>

#include "infonce.h"

namespace crosscam {

/// Slots of stored instances for each class.
struct InstanceBank {
  const float* rows = nullptr;  ///< (C, S, D)
  int64_t classes = 0;
  int64_t slots = 0;
  int64_t stride = 0;                ///< floats between slots; a class is `slots` of them
  const uint8_t* filled = nullptr;   ///< (C, S) zero: the slot holds nothing
  const int32_t* cameras = nullptr;  ///< (C,), or null: every class is a candidate
};

/// Arguments of `instance_infonce`.
struct InstanceProblem {
  Samples samples;
  InstanceBank bank;
  float temperature = 1.0f;
  int threads = 0;
  SimdLevel simd = SimdLevel::kScalar;
};

/// CCAFL Eq. 8 for each sample: hardest stored instance per class of its camera, then InfoNCE.
///
/// @param loss out (N,); zero where the own class is no candidate or holds nothing.
/// @param lse out (N,) log-sum-exp over the candidate classes.
/// @param counted out (N,) nonzero where the sample has a loss.
/// @param gradient out (N, D), contiguous: of each loss with respect to its own sample, through the
///     chosen instances; or null.
void instance_infonce(const InstanceProblem& problem, float* loss, float* lse, uint8_t* counted,
                      float* gradient);

}  // namespace crosscam
