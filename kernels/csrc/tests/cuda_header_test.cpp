// The declarations of cuda/driver.h against those of the toolkit. Compiling is the test.
#include <cuda.h>

#include <cstddef>
#include <string_view>
#include <type_traits>

#include "check.h"
#include "cuda/driver.h"

namespace {

namespace cc = crosscam::cuda;

#define CROSSCAM_TEXT_OF(x) #x
#define CROSSCAM_TEXT(x) CROSSCAM_TEXT_OF(x)  // after cuda.h has replaced the name by its version

static_assert(cc::kMultiprocessors == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(cc::kComputeCapabilityMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(cc::kComputeCapabilityMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(cc::kMaxSharedBytesOptIn == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
static_assert(cc::kMaxDynamicSharedBytes == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(cc::kJitErrorLog == CU_JIT_ERROR_LOG_BUFFER);
static_assert(cc::kJitErrorLogBytes == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
#define CROSSCAM_SAME_FIELD(member, field)                                       \
  static_assert(offsetof(cc::Copy2d, member) == offsetof(CUDA_MEMCPY2D, field)); \
  static_assert(sizeof(cc::Copy2d::member) == sizeof(CUDA_MEMCPY2D::field))
static_assert(sizeof(cc::Copy2d) == sizeof(CUDA_MEMCPY2D));
CROSSCAM_SAME_FIELD(from_x, srcXInBytes);
CROSSCAM_SAME_FIELD(from_y, srcY);
CROSSCAM_SAME_FIELD(from_type, srcMemoryType);
CROSSCAM_SAME_FIELD(from_host, srcHost);
CROSSCAM_SAME_FIELD(from, srcDevice);
CROSSCAM_SAME_FIELD(from_array, srcArray);
CROSSCAM_SAME_FIELD(from_pitch, srcPitch);
CROSSCAM_SAME_FIELD(to_x, dstXInBytes);
CROSSCAM_SAME_FIELD(to_y, dstY);
CROSSCAM_SAME_FIELD(to_type, dstMemoryType);
CROSSCAM_SAME_FIELD(to_host, dstHost);
CROSSCAM_SAME_FIELD(to, dstDevice);
CROSSCAM_SAME_FIELD(to_array, dstArray);
CROSSCAM_SAME_FIELD(to_pitch, dstPitch);
CROSSCAM_SAME_FIELD(width_bytes, WidthInBytes);
CROSSCAM_SAME_FIELD(height, Height);
static_assert(CU_MEMORYTYPE_DEVICE == 2);
static_assert(CUDA_ERROR_NO_DEVICE == 100);
static_assert(std::is_same_v<std::underlying_type_t<CUresult>, unsigned> && sizeof(CUresult) == 4);

/// What a parameter is once names are taken away: handles are pointers, enumerations integers.
template <typename T>
struct Plain {
  using type = T;
};
template <typename T>
  requires std::is_enum_v<T>
struct Plain<T> {
  using type = int;
};
template <typename T>
struct Plain<T*> {
  using type = void*;
};
template <>
struct Plain<unsigned long> {
  using type = unsigned long;
};

template <typename A, typename B>
constexpr bool same_call = false;
template <typename RA, typename RB, typename... A, typename... B>
constexpr bool same_call<RA (*)(A...), RB (*)(B...)> = [] {
  if constexpr (sizeof...(A) != sizeof...(B)) {
    return false;
  } else {
    return sizeof(RA) == sizeof(RB) &&
           (std::is_same_v<typename Plain<A>::type, typename Plain<B>::type> && ...);
  }
}();

#define CROSSCAM_SAME(member, function)                                                   \
  static_assert(same_call<decltype(cc::Driver::member), decltype(&function)>, #function); \
  CHECK(symbol_of(#member) == CROSSCAM_TEXT(function))

std::string_view symbol_of(std::string_view member) {
#define CROSSCAM_SYMBOL(name, symbol, parameters) \
  if (member == #name) return symbol;
  CROSSCAM_CUDA_FUNCTIONS(CROSSCAM_SYMBOL)
  return "";
}

}  // namespace

int main() {
  CROSSCAM_SAME(init, cuInit);
  CROSSCAM_SAME(driver_version, cuDriverGetVersion);
  CROSSCAM_SAME(device_count, cuDeviceGetCount);
  CROSSCAM_SAME(device_get, cuDeviceGet);
  CROSSCAM_SAME(device_name, cuDeviceGetName);
  CROSSCAM_SAME(device_attribute, cuDeviceGetAttribute);
  CROSSCAM_SAME(context_retain, cuDevicePrimaryCtxRetain);
  CROSSCAM_SAME(context_release, cuDevicePrimaryCtxRelease);
  CROSSCAM_SAME(context_push, cuCtxPushCurrent);
  CROSSCAM_SAME(context_pop, cuCtxPopCurrent);
  CROSSCAM_SAME(context_current, cuCtxGetCurrent);
  CROSSCAM_SAME(context_device, cuCtxGetDevice);
  CROSSCAM_SAME(copy_2d, cuMemcpy2DAsync);
  CROSSCAM_SAME(module_load, cuModuleLoadDataEx);
  CROSSCAM_SAME(module_unload, cuModuleUnload);
  CROSSCAM_SAME(module_function, cuModuleGetFunction);
  CROSSCAM_SAME(function_set, cuFuncSetAttribute);
  CROSSCAM_SAME(launch, cuLaunchKernel);
  CROSSCAM_SAME(error_name, cuGetErrorName);
  CROSSCAM_SAME(error_string, cuGetErrorString);
  return 0;
}
