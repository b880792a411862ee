#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "cuda/module.h"
#include "kernel_folder.h"

namespace crosscam::trt {

/// Arguments of a launch by the names of the kernel's parameters: an order that changed, or a
/// parameter that was added, is found here and not on the device.
struct NamedArguments {
  std::map<std::string, const void*> pointers;
  std::map<std::string, int64_t> integers;

  /// In the order of the kernel.
  ///
  /// @throws InputError when a name is missing or left over; std::invalid_argument when a value
  /// does not fit its parameter.
  cuda::Arguments pack(const cuda::Kernel& kernel) const;
};

/// Kernels of a folder, loaded in the contexts that are current when they are asked for. Safe to
/// call from several threads. Contexts must live as long.
class DeviceKernels {
 public:
  /// @param driver null for that of the system, which is then loaded at the first use
  explicit DeviceKernels(std::shared_ptr<const KernelFolder> folder,
                         const cuda::Driver* driver = nullptr)
      : folder_(std::move(folder)), driver_(driver) {}

  /// The kernel in the current context of this thread.
  ///
  /// @throws InputError, CudaError when there is no context, or the kernel cannot be loaded.
  const cuda::CudaModule& get(const std::string& name);

  const cuda::Driver& driver() const {
    return driver_ == nullptr ? cuda::Driver::system() : *driver_;
  }

 private:
  struct Loaded {
    std::unique_ptr<LoadedKernel> kernel;
    std::unique_ptr<cuda::CudaModule> module;
  };
  struct Context {
    explicit Context(const cuda::Driver& driver) : device(cuda::Device::current(driver)) {}
    cuda::Device device;
    std::map<std::string, Loaded> kernels;
  };

  std::shared_ptr<const KernelFolder> folder_;
  const cuda::Driver* driver_;
  std::mutex mutex_;
  std::map<cuda::ContextHandle, Context> contexts_;
};

}  // namespace crosscam::trt
