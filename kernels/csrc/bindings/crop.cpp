#include "crop.h"

#include <nanobind/stl/pair.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"

namespace crosscam::python {
namespace {

using Image = nb::ndarray<const uint8_t, nb::device::cpu>;
using Boxes = nb::ndarray<const int64_t, nb::shape<-1, 5>, nb::c_contig, nb::device::cpu>;
using Places = nb::ndarray<const int64_t, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using AnyOutput = nb::ndarray<nb::ndim<4>, nb::device::cpu>;

CropElement element_of(const AnyOutput& out) {
  if (out.dtype() == nb::dtype<int8_t>()) return CropElement::kInt8;
  return out.itemsize() == 2 ? CropElement::kFloat16 : CropElement::kFloat32;
}

void run_crop_resize_normalize(const std::vector<Image>& images, const std::vector<Image>& chroma,
                               const Boxes& boxes, const std::optional<Places>& places,
                               float padding, std::array<int32_t, 6> yuv,
                               std::array<int, 3> source_channel, std::array<float, 3> gain,
                               std::array<float, 3> bias, std::pair<float, int> quantization,
                               int threads, const std::string& simd, const AnyOutput& out) {
  std::vector<ImageView> views;
  views.reserve(images.size());
  for (const Image& image : images) {
    views.push_back({image.data(), static_cast<int64_t>(image.shape(0)),
                     static_cast<int64_t>(image.shape(1)), image.stride(0)});
  }
  for (size_t i = 0; i < chroma.size(); ++i) {
    views[i].chroma = chroma[i].data();
    views[i].chroma_stride = chroma[i].stride(0);
  }
  std::vector<CropBox> crops;
  crops.reserve(boxes.shape(0));
  for (size_t n = 0; n < boxes.shape(0); ++n) {
    const int64_t* const box = boxes.data() + 5 * n;
    crops.push_back({box[0], box[1], box[2], box[3], box[4]});
  }
  std::vector<CropPlacement> placements;
  for (size_t n = 0; places && n < places->shape(0); ++n) {
    const int64_t* const place = places->data() + 4 * n;
    placements.push_back({place[0], place[1], place[2], place[3]});
  }
  CropProblem problem;
  problem.images = &views;
  problem.boxes = &crops;
  problem.placements = places ? &placements : nullptr;
  problem.padding = padding;
  problem.format = chroma.empty() ? PixelFormat::kInterleaved : PixelFormat::kNv12;
  problem.yuv = {yuv[0], yuv[1], yuv[2], yuv[3], yuv[4], yuv[5]};
  problem.out_height = static_cast<int64_t>(out.shape(2));
  problem.out_width = static_cast<int64_t>(out.shape(3));
  for (size_t channel = 0; channel < 3; ++channel) {
    problem.source_channel[channel] = source_channel[channel];
    problem.gain[channel] = gain[channel];
    problem.bias[channel] = bias[channel];
  }
  problem.out = out.data();
  problem.element = element_of(out);
  problem.quant_scale = quantization.first;
  problem.zero_point = quantization.second;
  problem.out_image_stride = out.stride(0);
  problem.out_channel_stride = out.stride(1);
  problem.out_row_stride = out.stride(2);
  problem.threads = threads;
  problem.simd = simd_level(simd);
  const nb::gil_scoped_release release;
  crop_resize_normalize(problem);
}

}  // namespace

void bind_crop(nb::module_& module) {
  module.def("crop_resize_normalize", &run_crop_resize_normalize, nb::kw_only(),
             "images"_a.noconvert(), "chroma"_a.noconvert(), "boxes"_a.noconvert(),
             "places"_a.noconvert().none(), "padding"_a, "yuv"_a, "source_channel"_a, "gain"_a,
             "bias"_a, "quantization"_a, "threads"_a, "simd"_a, "out"_a.noconvert());
}

}  // namespace crosscam::python
