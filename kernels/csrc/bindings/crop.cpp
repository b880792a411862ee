#include "crop.h"

#include <array>
#include <string>
#include <vector>

#include "arrays.h"

namespace crosscam::python {
namespace {

using Image = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::device::cpu>;

void run_crop_resize_normalize(
    const std::vector<Image>& images,
    const nb::ndarray<const int64_t, nb::shape<-1, 5>, nb::c_contig, nb::device::cpu>& boxes,
    std::array<int, 3> source_channel, std::array<float, 3> gain, std::array<float, 3> bias,
    int threads, const std::string& simd, const Output<float, 4>& out) {
  std::vector<ImageView> views;
  views.reserve(images.size());
  for (const Image& image : images) {
    views.push_back({image.data(), static_cast<int64_t>(image.shape(0)),
                     static_cast<int64_t>(image.shape(1)), image.stride(0)});
  }
  std::vector<CropBox> crops;
  crops.reserve(boxes.shape(0));
  for (size_t n = 0; n < boxes.shape(0); ++n) {
    const int64_t* const box = boxes.data() + 5 * n;
    crops.push_back({box[0], box[1], box[2], box[3], box[4]});
  }
  CropProblem problem;
  problem.images = &views;
  problem.boxes = &crops;
  problem.out_height = static_cast<int64_t>(out.shape(2));
  problem.out_width = static_cast<int64_t>(out.shape(3));
  for (size_t channel = 0; channel < 3; ++channel) {
    problem.source_channel[channel] = source_channel[channel];
    problem.gain[channel] = gain[channel];
    problem.bias[channel] = bias[channel];
  }
  problem.out = out.data();
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
             "images"_a.noconvert(), "boxes"_a.noconvert(), "source_channel"_a, "gain"_a, "bias"_a,
             "threads"_a, "simd"_a, "out"_a.noconvert());
}

}  // namespace crosscam::python
