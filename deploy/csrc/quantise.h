#pragma once

// `NormaliseQuantise`: embeddings as int8 codes and a scale each, by one launch.

#include <cstdint>
#include <memory>

#include "device_kernels.h"
#include "types.h"

namespace crosscam::trt {

inline constexpr int kQuantiseInputs = 1, kQuantiseOutputs = 2;

/// The type that rows, codes and scale (places 0, 1, 2) must have where that of the rows is
/// `element`. False for a place that there is not.
bool quantise_type(int place, Type element, Type& type);

/// The operator with the kernels of a folder.
class Quantise {
 public:
  explicit Quantise(std::shared_ptr<const KernelFolder> folder,
                    const cuda::Driver* driver = nullptr)
      : folder_(std::move(folder)),
        driver_(driver),
        kernels_(std::make_shared<DeviceKernels>(folder_, driver)) {}

  /// The same with kernels of its own, for another context of execution.
  Quantise fresh() const { return Quantise(folder_, driver_); }

  /// Whether a kernel of this type was compiled, for short rows or for long ones.
  bool has(Element element) const;

  /// Throws InputError where the kernel does not take N rows of length D.
  void check(int64_t count, int64_t dim, Element element) const;

  /// Load what a launch needs into the current context.
  void prepare(int64_t dim, Element element) const;

  /// Queue the operator on `stream`.
  ///
  /// @param rows (N, D), dense, aligned to 16 bytes as the outputs are
  /// @param codes out (N, D)
  /// @param scale out (N,)
  /// @throws InputError, CudaError, std::invalid_argument
  void launch(const void* rows, int64_t count, int64_t dim, Element element, int8_t* codes,
              float* scale, cuda::Stream stream) const;

 private:
  std::shared_ptr<const KernelFolder> folder_;
  const cuda::Driver* driver_;
  std::shared_ptr<DeviceKernels> kernels_;
};

}  // namespace crosscam::trt
