#pragma once

// The CUDA driver, loaded at run time: a program that links this library starts on machines without
// a GPU. Only what is called here is declared, so neither the toolkit nor its headers are needed to
// build; `tests/cuda_header_test.cpp` holds the declarations against cuda.h where there is one.

#include <cstddef>
#include <stdexcept>
#include <string>

namespace crosscam::cuda {

using DeviceHandle = int;      ///< CUdevice
using ContextHandle = void*;   ///< CUcontext
using ModuleHandle = void*;    ///< CUmodule
using FunctionHandle = void*;  ///< CUfunction
using Stream = void*;          ///< CUstream, the same as cudaStream_t; null is the default stream

/// CUDA_MEMCPY2D: `height` rows of `width_bytes`, each with a pitch of its own. Only the fields
/// that copies inside a device need have names that say so.
struct Copy2d {
  size_t from_x = 0, from_y = 0;
  unsigned from_type = 2;  ///< CU_MEMORYTYPE_DEVICE
  const void* from_host = nullptr;
  const void* from = nullptr;
  void* from_array = nullptr;
  size_t from_pitch = 0;
  size_t to_x = 0, to_y = 0;
  unsigned to_type = 2;
  void* to_host = nullptr;
  void* to = nullptr;
  void* to_array = nullptr;
  size_t to_pitch = 0;
  size_t width_bytes = 0, height = 0;
};

/// The driver is missing, or refused a call.
class CudaError : public std::runtime_error {
 public:
  explicit CudaError(const std::string& message, int code = 0)
      : std::runtime_error(message), code(code) {}
  int code;  ///< CUresult; 0 when no call was made
};

// X(name in this library, symbol, parameters). Symbols with _v2 are what the macros of cuda.h name.
#define CROSSCAM_CUDA_FUNCTIONS(X)                                                                 \
  X(init, "cuInit", (unsigned))                                                                    \
  X(driver_version, "cuDriverGetVersion", (int*))                                                  \
  X(device_count, "cuDeviceGetCount", (int*))                                                      \
  X(device_get, "cuDeviceGet", (DeviceHandle*, int))                                               \
  X(device_name, "cuDeviceGetName", (char*, int, DeviceHandle))                                    \
  X(device_attribute, "cuDeviceGetAttribute", (int*, int, DeviceHandle))                           \
  X(context_retain, "cuDevicePrimaryCtxRetain", (ContextHandle*, DeviceHandle))                    \
  X(context_release, "cuDevicePrimaryCtxRelease_v2", (DeviceHandle))                               \
  X(context_push, "cuCtxPushCurrent_v2", (ContextHandle))                                          \
  X(context_pop, "cuCtxPopCurrent_v2", (ContextHandle*))                                           \
  X(context_current, "cuCtxGetCurrent", (ContextHandle*))                                          \
  X(context_device, "cuCtxGetDevice", (DeviceHandle*))                                             \
  X(module_load, "cuModuleLoadDataEx", (ModuleHandle*, const void*, unsigned, int*, void**))       \
  X(module_unload, "cuModuleUnload", (ModuleHandle))                                               \
  X(module_function, "cuModuleGetFunction", (FunctionHandle*, ModuleHandle, const char*))          \
  X(function_set, "cuFuncSetAttribute", (FunctionHandle, int, int))                                \
  X(launch, "cuLaunchKernel",                                                                      \
    (FunctionHandle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream, \
     void**, void**))                                                                              \
  X(copy_2d, "cuMemcpy2DAsync_v2", (const Copy2d*, Stream))                                        \
  X(error_name, "cuGetErrorName", (int, const char**))                                             \
  X(error_string, "cuGetErrorString", (int, const char**))

/// CU_DEVICE_ATTRIBUTE_*, CU_FUNC_ATTRIBUTE_* and CU_JIT_* that are used.
inline constexpr int kMultiprocessors = 16;
inline constexpr int kComputeCapabilityMajor = 75;
inline constexpr int kComputeCapabilityMinor = 76;
inline constexpr int kMaxSharedBytesOptIn = 97;
inline constexpr int kMaxDynamicSharedBytes = 8;
inline constexpr int kJitErrorLog = 5;
inline constexpr int kJitErrorLogBytes = 6;

/// The functions of the driver library.
class Driver {
 public:
  /// Loads `library` and initialises the driver.
  ///
  /// @throws CudaError when the library or one of its functions is missing, or it does not start.
  explicit Driver(const char* library = "libcuda.so.1");
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  /// The driver of the system, loaded at the first call; stays loaded.
  ///
  /// @throws CudaError as the constructor, at every call until it succeeds.
  static const Driver& system();

  /// Throws a CudaError that says what `action` was and what the driver calls `result`, unless
  /// it is success (0).
  void check(int result, const std::string& action) const;

  int count() const;    ///< number of devices; 0 when the driver says that there is none
  int version() const;  ///< 13000 for CUDA 13.0

#define CROSSCAM_DECLARE(name, symbol, parameters) int(*name) parameters = nullptr;
  CROSSCAM_CUDA_FUNCTIONS(CROSSCAM_DECLARE)
#undef CROSSCAM_DECLARE

 private:
  void* library_;
  bool has_device_ = false;
};

/// Whether there is a driver with a device. Never throws.
bool cuda_available() noexcept;

/// Why `cuda_available()` is false, for a person to read; empty when it is true.
std::string cuda_unavailable_reason();

}  // namespace crosscam::cuda
