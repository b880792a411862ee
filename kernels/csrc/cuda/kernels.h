#pragma once

// The compiled kernels that a program carries, as `embed.cmake` writes them out of the manifest of
// `python -m crosscam_kernels.aot`.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace crosscam::cuda {

enum class ParameterType { kPointer, kInt8, kInt16, kInt32, kInt64, kFloat32, kFloat64 };

/// One parameter of a kernel, in the order of the launch.
struct Parameter {
  const char* name;
  ParameterType type;
  int divisible_by;  ///< the compiler relied on it: bytes for a pointer
};

/// A kernel compiled for one architecture.
struct Image {
  int capability;  ///< compute capability times ten; 0 for a fat binary, where the driver chooses
  bool exact;      ///< code with an "a" target such as sm_90a, which runs nowhere else
  const char* entry;
  unsigned block_threads;
  unsigned shared_bytes;       ///< dynamic shared memory of a launch
  unsigned hidden_parameters;  ///< null pointers to append to the arguments
  const unsigned char* binary;
  const char* ptx;  ///< ends with a zero; null where newer devices could not run it either
};

struct Kernel {
  const char* name;
  std::span<const Parameter> parameters;
  std::span<const Image> images;
};

/// What to load on a device.
struct Choice {
  const Image* image;
  bool from_ptx;  ///< compiled by the driver at load time
};

/// All kernels of this program.
std::span<const Kernel> embedded_kernels();

/// The kernel called `name`.
///
/// @throws std::invalid_argument when there is none; the message lists those there are.
const Kernel& find_kernel(std::span<const Kernel> kernels, std::string_view name);

/// The image of `kernel` that a device of `capability` runs: compiled for it; else for the greatest
/// earlier minor version of its generation (a promise of CUDA that excludes "a" targets and the
/// Tegra processors, 7.2, 8.7 and 11.0); else the newest PTX that it can take.
///
/// @throws CudaError when there is none.
Choice choose_image(const Kernel& kernel, int capability);

}  // namespace crosscam::cuda
