// The Python module `crosscam_kernels._native`.
#include <string>
#include <vector>

#include "arrays.h"
#include "cpu_features.h"
#include "parallel.h"

namespace crosscam::python {
namespace {

std::vector<std::string> level_names() {
  std::vector<std::string> names;
  for (const auto level : simd_levels()) names.emplace_back(simd_name(level));
  return names;
}

}  // namespace

NB_MODULE(_native, module) {
  module.def("simd_levels", &level_names);
  module.def("share_openmp_threads", &share_openmp_threads);
  bind_camera_adversarial(module);
  bind_crop(module);
  bind_instance_memory(module);
  bind_memory(module);
  bind_normalise(module);
  bind_rerank(module);
  bind_retrieval(module);
  bind_similarity(module);
  bind_triplet(module);
}

}  // namespace crosscam::python
