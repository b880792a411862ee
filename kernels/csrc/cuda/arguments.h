#pragma once

#include <array>
#include <cstdint>

#include "cuda/kernels.h"

namespace crosscam::cuda {

/// The arguments of one launch, checked against what the kernel was compiled for: a wrong type, or
/// a pointer that is less aligned than promised, would read beyond memory on the device.
class Arguments {
 public:
  explicit Arguments(const Kernel& kernel) : kernel_(&kernel) {}

  /// Append the next argument. The null pointer is fine where the kernel does not touch it.
  ///
  /// @throws std::invalid_argument when the next parameter is of another kind, the number does not
  /// fit it or breaks its promise of divisibility, or there is none left.
  Arguments& pointer(const void* device);
  Arguments& integer(int64_t value);
  Arguments& real(double value);

  const Kernel& kernel() const { return *kernel_; }

  /// What cuLaunchKernel takes: one pointer for each argument and for each hidden one. Valid while
  /// this object lives and is not changed.
  ///
  /// @throws std::invalid_argument when arguments are missing, or do not fit `kMaxArguments`.
  void** data(unsigned hidden_parameters);

  static constexpr size_t kMaxArguments = 32;

 private:
  const Parameter& next(const char* kind);
  template <typename T>
  void append(T value);

  const Kernel* kernel_;
  size_t count_ = 0;
  std::array<uint64_t, kMaxArguments> values_{};
  std::array<void*, kMaxArguments> pointers_{};
};

}  // namespace crosscam::cuda
