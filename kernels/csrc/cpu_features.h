#pragma once

#include <string>
#include <vector>

namespace crosscam {

/// Instruction sets with a kernel of their own. The values order from slowest to fastest within one
/// architecture.
enum class SimdLevel { kScalar, kNeon, kAvx2, kAvx512 };

/// "scalar", "neon", "avx2" or "avx512".
const char* simd_name(SimdLevel level);

/// Levels that were compiled in *and* that this processor and operating system run, best first.
/// Never empty: the scalar level is always last.
const std::vector<SimdLevel>& simd_levels();

/// Level called `name`; an empty name means the best one.
///
/// @throws std::invalid_argument when the name is unknown or the level cannot run here.
SimdLevel simd_level(const std::string& name);

/// Dot-product instructions of this processor that no level implies.
struct DotFeatures {
  bool avx512_bf16 = false;
  bool avx512_vnni = false;
  bool avx_vnni = false;
  bool asimd_dot = false;
};
const DotFeatures& dot_features();

}  // namespace crosscam
