#pragma once

#include <cstdint>
#include <vector>

#include "simd_kernels.h"

namespace crosscam {

/// Coefficients of the antialiased triangle filter along one axis, as Pillow computes them: the
/// support grows with the reduction factor, and weights that fall outside are left out before the
/// rest is normalised to one.
class TriangleFilter {
 public:
  /// Recomputes for `in` -> `out` samples (both positive), keeping the memory.
  void assign(int64_t in, int64_t out);

  ResizeAxis view() const { return {start_.data(), count_.data(), weight_.data(), taps_}; }

 private:
  int64_t in_ = 0, out_ = 0;
  int taps_ = 0;
  std::vector<int32_t> start_, count_;
  std::vector<float> weight_;
};

}  // namespace crosscam
