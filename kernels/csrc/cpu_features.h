#pragma once

namespace crosscam {

/// Name of the best instruction set this processor runs: "avx512", "avx2", "neon" or "scalar".
const char* simd_level();

}  // namespace crosscam
