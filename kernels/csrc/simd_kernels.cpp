#include "simd_kernels.h"

namespace crosscam {

#define CROSSCAM_DECLARE(isa)                     \
  namespace isa {                                 \
  extern const TopkKernels topk_chain;            \
  extern const TopkKernels topk_lanes[kElements]; \
  extern const TopkKernels topk_int8;             \
  extern const RowKernels topk_rows;              \
  extern const CropKernel crop;                   \
  extern const DenseKernels dense;                \
  extern const HardestKernel hardest;             \
  extern const MemoryRowKernels memory_row;       \
  extern const NormaliseKernel normalise;         \
  }
CROSSCAM_DECLARE(scalar)
#if defined(CROSSCAM_HAVE_X86_KERNELS)
CROSSCAM_DECLARE(avx2)
CROSSCAM_DECLARE(avx512)
namespace avx512bf16 {
extern const TopkKernels topk_bf16;
extern const NarrowKernels topk_narrow;
}  // namespace avx512bf16
namespace avx512vnni {
extern const TopkKernels topk_int8;
}
namespace avxvnni {
extern const TopkKernels topk_int8;
}
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
CROSSCAM_DECLARE(neon)
namespace neondot {
extern const TopkKernels topk_int8;
}
#endif
#undef CROSSCAM_DECLARE

namespace {

/// The kernels of a level for words that need no instruction beyond it.
template <class Kernels>
const Kernels& of_level([[maybe_unused]] SimdLevel level, [[maybe_unused]] const Kernels& avx512,
                        [[maybe_unused]] const Kernels& avx2, [[maybe_unused]] const Kernels& neon,
                        const Kernels& scalar) {
  if (level == SimdLevel::kAvx512) return avx512;
  if (level == SimdLevel::kAvx2) return avx2;
  if (level == SimdLevel::kNeon) return neon;
  return scalar;
}

#if defined(CROSSCAM_HAVE_X86_KERNELS)
#define CROSSCAM_PICK(level, name) \
  of_level(level, avx512::name, avx2::name, scalar::name, scalar::name)
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
#define CROSSCAM_PICK(level, name) \
  of_level(level, scalar::name, scalar::name, neon::name, scalar::name)
#else
#define CROSSCAM_PICK(level, name) \
  of_level(level, scalar::name, scalar::name, scalar::name, scalar::name)
#endif

const TopkKernels& int8_kernels(SimdLevel level, [[maybe_unused]] const DotFeatures& features) {
#if defined(CROSSCAM_HAVE_X86_KERNELS)
  if (level == SimdLevel::kAvx512 && features.avx512_vnni) return avx512vnni::topk_int8;
  if (level == SimdLevel::kScalar) return scalar::topk_int8;
  // Every processor with AVX-512 has AVX2, which multiplies bytes better than plain AVX-512 does.
  return features.avx_vnni ? avxvnni::topk_int8 : avx2::topk_int8;
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
  if (level == SimdLevel::kScalar) return scalar::topk_int8;
  return features.asimd_dot ? neondot::topk_int8 : neon::topk_int8;
#else
  (void)level;
  return scalar::topk_int8;
#endif
}

}  // namespace

const TopkKernels* topk_kernels(SimdLevel level, TopkWord word, Element element, bool dot) {
  const DotFeatures features = dot ? dot_features() : DotFeatures{};
  switch (word) {
    case TopkWord::kFloatChain:
      return &topk_kernels(level);
    case TopkWord::kFloatLanes:
      return &CROSSCAM_PICK(level, topk_lanes)[static_cast<int>(element)];
    case TopkWord::kInt8Quad:
      return &int8_kernels(level, features);
    case TopkWord::kBf16Pair:
      break;
  }
#if defined(CROSSCAM_HAVE_X86_KERNELS)
  if (level == SimdLevel::kAvx512 && features.avx512_bf16) return &avx512bf16::topk_bf16;
#endif
  return nullptr;
}

const TopkKernels& topk_kernels(SimdLevel level) { return CROSSCAM_PICK(level, topk_chain); }

const RowKernels& row_kernels(SimdLevel level) { return CROSSCAM_PICK(level, topk_rows); }

const NarrowKernels& narrow_kernels([[maybe_unused]] SimdLevel level) {
#if defined(CROSSCAM_HAVE_X86_KERNELS)
  return avx512bf16::topk_narrow;
#else
  static constexpr NarrowKernels none{};
  return none;
#endif
}

const CropKernel& crop_kernel(SimdLevel level) { return CROSSCAM_PICK(level, crop); }

const DenseKernels& dense_kernels(SimdLevel level) { return CROSSCAM_PICK(level, dense); }

const HardestKernel& hardest_kernel(SimdLevel level) { return CROSSCAM_PICK(level, hardest); }

const MemoryRowKernels& memory_row_kernels(SimdLevel level) {
  return CROSSCAM_PICK(level, memory_row);
}
const NormaliseKernel& normalise_kernel(SimdLevel level) { return CROSSCAM_PICK(level, normalise); }

}  // namespace crosscam
