#include "infonce_kernels.h"

namespace crosscam {

namespace scalar {
extern const InfonceKernels infonce;
}
#if defined(CROSSCAM_HAVE_X86_KERNELS)
namespace avx2 {
extern const InfonceKernels infonce;
}
namespace avx512 {
extern const InfonceKernels infonce;
}
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
namespace neon {
extern const InfonceKernels infonce;
}
#endif

const InfonceKernels& infonce_kernels(SimdLevel level) {
#if defined(CROSSCAM_HAVE_X86_KERNELS)
  if (level == SimdLevel::kAvx512) return avx512::infonce;
  if (level == SimdLevel::kAvx2) return avx2::infonce;
#elif defined(CROSSCAM_HAVE_NEON_KERNELS)
  if (level == SimdLevel::kNeon) return neon::infonce;
#endif
  (void)level;
  return scalar::infonce;
}

}  // namespace crosscam
