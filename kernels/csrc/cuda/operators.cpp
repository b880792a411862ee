#include "cuda/operators.h"

#include <stdexcept>

#include "cuda/merge_topk.h"

namespace crosscam::cuda {

const char* element_name(Element element) {
  switch (element) {
    case Element::kFloat32:
      return "fp32";
    case Element::kFloat16:
      return "fp16";
    case Element::kBFloat16:
      return "bf16";
    case Element::kInt8:
      return "i8";
  }
  throw std::invalid_argument("unknown type of elements");
}

const CudaModule& Operators::module(const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::unique_ptr<CudaModule>& loaded = modules_[name];
  if (!loaded) loaded = std::make_unique<CudaModule>(device_, find_kernel(kernels_, name));
  return *loaded;
}

void Operators::normalise_quantise(const DeviceRows& rows, int8_t* codes, float* scale,
                                   Stream stream) {
  // Wider steps cost idle threads on short rows, narrower ones more steps on long rows.
  const std::string name = std::string("normalise_quantise_") + element_name(rows.element) +
                           (rows.dim <= 512 ? "_512" : "_2048");
  const CudaModule& kernel = module(name);
  Arguments arguments(kernel.kernel());
  arguments.pointer(rows.data).integer(rows.dim).integer(rows.stride).pointer(codes).pointer(scale);
  kernel.launch(rows.count, arguments, stream);
}

void Operators::merge_topk(const uint64_t* candidates, int64_t queries, int64_t count, int k,
                           float* similarity, int64_t* index, Stream stream) {
  if (k < 0 || k > kMergeMaxK || count < 0) {
    throw std::invalid_argument("merge_topk of k = " + std::to_string(k) + " out of " +
                                std::to_string(count) + " candidates. Expected: k of 0 to " +
                                std::to_string(kMergeMaxK) + ".");
  }
  merge(candidates, queries, count, 0, k, similarity, index, stream);
}

void Operators::merge(const void* candidates, int64_t queries, int64_t count, uint64_t flip, int k,
                      float* similarity, int64_t* index, Stream stream) {
  const CudaModule& kernel = module("merge_topk");
  Arguments arguments(kernel.kernel());
  arguments.pointer(candidates).integer(count).integer(static_cast<int64_t>(flip)).integer(k);
  arguments.pointer(similarity).pointer(index);
  kernel.launch(queries, arguments, stream);
}

}  // namespace crosscam::cuda
