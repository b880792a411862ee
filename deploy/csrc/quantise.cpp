#include "quantise.h"

#include <limits>
#include <string>

#include "errors.h"

namespace crosscam::trt {
namespace {

constexpr int64_t kNarrow = 512, kWide = 2048;  // features of one step
constexpr int64_t kMultiple = 16;               // what the compiler was promised of D

std::string name_of(Element element, int64_t dim) {
  return std::string("normalise_quantise_") + cuda::element_name(element) + "_" +
         std::to_string(dim <= kNarrow ? kNarrow : kWide);
}

}  // namespace

bool quantise_type(int place, Type element, Type& type) {
  constexpr Type kTypes[] = {Type::kOther, Type::kInt8, Type::kFloat32};
  if (place < 0 || place >= kQuantiseInputs + kQuantiseOutputs) return false;
  type = place == 0 ? element : kTypes[place];
  return true;
}

bool Quantise::has(Element element) const {
  return folder_->find(name_of(element, kNarrow)) != nullptr ||
         folder_->find(name_of(element, kWide)) != nullptr;
}

void Quantise::check(int64_t count, int64_t dim, Element element) const {
  folder_->get(name_of(element, dim));
  if (dim <= 0 || dim % kMultiple != 0 || dim > std::numeric_limits<int32_t>::max()) {
    throw InputError("embeddings of length " + std::to_string(dim) + " to quantise",
                     "a multiple of " + std::to_string(kMultiple),
                     "fill rows up with zeros, or build the engine without plugins");
  }
  if (count < 0 || count > std::numeric_limits<int32_t>::max()) {
    throw InputError(std::to_string(count) + " embeddings to quantise", "0 to 2^31 - 1");
  }
}

void Quantise::prepare(int64_t dim, Element element) const { kernels_->get(name_of(element, dim)); }

void Quantise::launch(const void* rows, int64_t count, int64_t dim, Element element, int8_t* codes,
                      float* scale, cuda::Stream stream) const {
  check(count, dim, element);
  const cuda::CudaModule& kernel = kernels_->get(name_of(element, dim));
  NamedArguments arguments;
  arguments.pointers = {{"rows_ptr", rows}, {"codes_ptr", codes}, {"scale_ptr", scale}};
  arguments.integers = {{"dim", dim}, {"stride", dim}};
  cuda::Arguments packed = arguments.pack(kernel.kernel());
  kernel.launch(count, packed, stream);
}

}  // namespace crosscam::trt
