#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/kernels.h"
#include "manifest.h"

namespace crosscam::trt {

/// A kernel in memory, as `cuda::CudaModule` takes it. It stays where it is: `kernel()` points into
/// it.
class LoadedKernel {
 public:
  LoadedKernel(const ManifestKernel& described, const ManifestBinary& binary, std::string content,
               bool from_ptx);
  LoadedKernel(const LoadedKernel&) = delete;
  LoadedKernel& operator=(const LoadedKernel&) = delete;

  const cuda::Kernel& kernel() const { return kernel_; }

 private:
  ManifestKernel described_;
  std::string entry_, content_;
  std::vector<cuda::Parameter> parameters_;
  cuda::Image image_;
  cuda::Kernel kernel_;
};

/// The compiled kernels of a folder. The manifest is read once, files when they are needed.
class KernelFolder {
 public:
  /// @param path output folder of `python -m crosscam_kernels.aot`
  /// @throws InputError when there is no manifest that can be read.
  explicit KernelFolder(std::string path);

  const std::string& path() const { return path_; }

  /// The kernel of this name, or null.
  const ManifestKernel* find(const std::string& name) const;

  /// The kernel of this name.
  ///
  /// @throws InputError when it was not compiled; the message says how to.
  const ManifestKernel& get(const std::string& name) const;

  /// The content of the file that a device of `capability` runs, by the rules of
  /// `cuda::choose_image`. What was hashed is what is returned.
  ///
  /// @throws InputError when the file is not the manifest's; CudaError when none fits the device.
  std::unique_ptr<LoadedKernel> load(const std::string& name, int capability) const;

 private:
  std::string path_;
  std::vector<ManifestKernel> kernels_;
};

}  // namespace crosscam::trt
