#include "cpu_features.h"

#include <stdexcept>

#if defined(CROSSCAM_HAVE_X86_KERNELS)
#include <cpuid.h>
#elif defined(CROSSCAM_HAVE_NEON_KERNELS) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace crosscam {

const char* simd_name(SimdLevel level) {
  switch (level) {
    case SimdLevel::kAvx512:
      return "avx512";
    case SimdLevel::kAvx2:
      return "avx2";
    case SimdLevel::kNeon:
      return "neon";
    case SimdLevel::kScalar:
      break;
  }
  return "scalar";
}

const std::vector<SimdLevel>& simd_levels() {
  static const std::vector<SimdLevel> levels = [] {
    std::vector<SimdLevel> found;
#if defined(CROSSCAM_HAVE_X86_KERNELS)
    // The builtin also asks the operating system (XGETBV) whether it saves the wide registers.
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      found.push_back(SimdLevel::kAvx512);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
      found.push_back(SimdLevel::kAvx2);
    }
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
    found.push_back(SimdLevel::kNeon);  // part of the aarch64 baseline
#endif
    found.push_back(SimdLevel::kScalar);
    return found;
  }();
  return levels;
}

SimdLevel simd_level(const std::string& name) {
  const auto& levels = simd_levels();
  if (name.empty()) return levels.front();
  std::string known;
  for (const SimdLevel level : levels) {
    if (name == simd_name(level)) return level;
    known += known.empty() ? "" : ", ";
    known += simd_name(level);
  }
  throw std::invalid_argument("instruction set '" + name +
                              "' cannot run here; available: " + known);
}

const DotFeatures& dot_features() {
  static const DotFeatures features = [] {
    DotFeatures found;
#if defined(CROSSCAM_HAVE_X86_KERNELS)
    __builtin_cpu_init();
    found.avx512_bf16 = __builtin_cpu_supports("avx512bf16");
    found.avx512_vnni = __builtin_cpu_supports("avx512vnni");
    // Compilers older than GCC 13 know no name for AVX-VNNI: leaf 7, subleaf 1, EAX bit 4.
    unsigned a = 0, b = 0, c = 0, d = 0;
    found.avx_vnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
#elif defined(CROSSCAM_HAVE_NEON_KERNELS) && defined(__linux__)
    found.asimd_dot = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
    return found;
  }();
  return features;
}

}  // namespace crosscam
