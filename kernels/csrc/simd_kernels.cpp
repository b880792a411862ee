#include "simd_kernels.h"

namespace crosscam {

namespace scalar {
extern const TopkKernels topk;
extern const CropKernel crop;
extern const DenseKernels dense;
extern const NormaliseKernel normalise;
}  // namespace scalar
#if defined(CROSSCAM_HAVE_X86_KERNELS)
namespace avx2 {
extern const TopkKernels topk;
extern const CropKernel crop;
extern const DenseKernels dense;
extern const NormaliseKernel normalise;
}  // namespace avx2
namespace avx512 {
extern const TopkKernels topk;
extern const CropKernel crop;
extern const DenseKernels dense;
extern const NormaliseKernel normalise;
}  // namespace avx512
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
namespace neon {
extern const TopkKernels topk;
extern const CropKernel crop;
extern const DenseKernels dense;
extern const NormaliseKernel normalise;
}  // namespace neon
#endif

const TopkKernels& topk_kernels(SimdLevel level) {
#if defined(CROSSCAM_HAVE_X86_KERNELS)
  if (level == SimdLevel::kAvx512) return avx512::topk;
  if (level == SimdLevel::kAvx2) return avx2::topk;
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
  if (level == SimdLevel::kNeon) return neon::topk;
#endif
  (void)level;
  return scalar::topk;
}

const CropKernel& crop_kernel(SimdLevel level) {
#if defined(CROSSCAM_HAVE_X86_KERNELS)
  if (level == SimdLevel::kAvx512) return avx512::crop;
  if (level == SimdLevel::kAvx2) return avx2::crop;
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
  if (level == SimdLevel::kNeon) return neon::crop;
#endif
  (void)level;
  return scalar::crop;
}

const DenseKernels& dense_kernels(SimdLevel level) {
#if defined(CROSSCAM_HAVE_X86_KERNELS)
  if (level == SimdLevel::kAvx512) return avx512::dense;
  if (level == SimdLevel::kAvx2) return avx2::dense;
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
  if (level == SimdLevel::kNeon) return neon::dense;
#endif
  (void)level;
  return scalar::dense;
}

const NormaliseKernel& normalise_kernel(SimdLevel level) {
#if defined(CROSSCAM_HAVE_X86_KERNELS)
  if (level == SimdLevel::kAvx512) return avx512::normalise;
  if (level == SimdLevel::kAvx2) return avx2::normalise;
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
  if (level == SimdLevel::kNeon) return neon::normalise;
#endif
  (void)level;
  return scalar::normalise;
}

}  // namespace crosscam
