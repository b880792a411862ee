#pragma once

#include <cstdint>
#include <string>

#include "cuda/arguments.h"
#include "cuda/driver.h"
#include "cuda/kernels.h"

namespace crosscam::cuda {

/// A device and a context on it: the primary one, which the CUDA runtime, torch and TensorRT use,
/// or the one that is current.
class Device {
 public:
  /// The primary context, retained while this object lives.
  ///
  /// @throws CudaError when there is no device of this number.
  explicit Device(int ordinal = 0, const Driver& driver = Driver::system());

  /// The current context of this thread, for libraries that are called with one. It is not
  /// retained: whoever made it keeps it as long as this object.
  ///
  /// @throws CudaError when there is none.
  static Device current(const Driver& driver = Driver::system());

  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Driver& driver() const { return driver_; }
  ContextHandle context() const { return context_; }
  int capability() const { return capability_; }  ///< compute capability times ten: 90
  int multiprocessors() const { return multiprocessors_; }
  int max_shared_bytes() const { return max_shared_bytes_; }
  std::string name() const;

 private:
  Device(const Driver& driver, ContextHandle context, DeviceHandle handle);
  void read_attributes();

  const Driver& driver_;
  DeviceHandle handle_ = 0;
  ContextHandle context_ = nullptr;
  bool retained_ = false;
  int capability_ = 0;
  int multiprocessors_ = 0;
  int max_shared_bytes_ = 0;
};

/// Makes the context of a device the current one of this thread while it lives.
class CurrentContext {
 public:
  explicit CurrentContext(const Device& device);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

 private:
  const Driver& driver_;
};

/// A kernel loaded on a device. Launches from several threads at a time are fine. The device must
/// live as long.
class CudaModule {
 public:
  /// Loads the image that fits the device.
  ///
  /// @throws CudaError when none does, the device has too little shared memory, or the driver
  /// refuses it; what its compiler said is part of the message.
  CudaModule(const Device& device, const Kernel& kernel);
  ~CudaModule();
  CudaModule(const CudaModule&) = delete;
  CudaModule& operator=(const CudaModule&) = delete;

  const Kernel& kernel() const { return kernel_; }
  const Image& image() const { return *image_; }
  bool from_ptx() const { return from_ptx_; }

  /// Queues one launch of `blocks` blocks on `stream`, and returns at once. None for zero blocks.
  ///
  /// @throws CudaError when the driver refuses; std::invalid_argument for more than 2^31 - 1 blocks
  /// and for arguments of another kernel.
  void launch(int64_t blocks, Arguments& arguments, Stream stream) const;

 private:
  const Device& device_;
  const Kernel& kernel_;
  const Image* image_;
  bool from_ptx_;
  ModuleHandle module_ = nullptr;
  FunctionHandle function_ = nullptr;
};

}  // namespace crosscam::cuda
