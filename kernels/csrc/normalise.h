#pragma once

#include <cstdint>

#include "cpu_features.h"

namespace crosscam {

/// Rows to bring to unit length and to eight bits.
struct NormaliseProblem {
  const float* rows = nullptr;  ///< (N, D); the elements of a row are dense
  int64_t count = 0;            ///< N
  int64_t dim = 0;              ///< D
  int64_t stride = 0;           ///< elements from row to row
  int threads = 0;              ///< at most this many; 0 for one per processor
  SimdLevel simd = SimdLevel::kScalar;
};

/// `x / |x|` of each row x, as codes * scale.
///
/// With m the largest magnitude of a row and y = x / m: codes = round(127 y), halves to even, and
/// scale = 1 / (127 |y|). Everything in float32; y, the products and the scale are rounded once,
/// and |y|^2 is summed in an order that depends on D alone, so that neither threads nor the
/// instruction set change a bit. A row of zeros has scale 0; a row that is not finite has codes 0,
/// scale NaN.
///
/// @param codes out (N, D), dense
/// @param scale out (N,)
void normalise_quantise(const NormaliseProblem& problem, int8_t* codes, float* scale);

}  // namespace crosscam
