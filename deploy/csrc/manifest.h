#pragma once

// `manifest.json` of `python -m crosscam_kernels.aot`, read as strictly as
// `crosscam_kernels.aot.manifest` reads it: nothing unknown, nothing converted.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/kernels.h"

namespace crosscam::trt {

/// A file beside the manifest.
struct File {
  std::string path;  ///< a plain name
  std::string sha256;
  int64_t size;
};

struct ManifestParameter {
  std::string name;
  cuda::ParameterType type;
  int divisible_by;
};

/// A kernel compiled for one architecture.
struct ManifestBinary {
  int capability;  ///< compute capability times ten
  bool exact;      ///< code for exactly this architecture, such as sm_90a
  std::string entry;
  unsigned block_threads;
  unsigned shared_bytes;
  unsigned hidden_parameters;
  File ptx, cubin;
};

struct ManifestKernel {
  std::string name;
  std::vector<ManifestParameter> parameters;
  std::map<std::string, int64_t> sizes;  ///< those of its constants that are whole numbers
  std::vector<ManifestBinary> binaries;

  /// A constant that must be a positive size.
  ///
  /// @throws InputError when the kernel was compiled without it.
  int64_t size(const std::string& constant) const;
};

/// Read a manifest. Kernels that were not written for plugins are left out; of the others it is
/// checked that a launch fits them: 32 threads a warp, no scratch memory.
///
/// @throws InputError when it is not a manifest of version 1.
std::vector<ManifestKernel> read_manifest(std::string_view text);

}  // namespace crosscam::trt
