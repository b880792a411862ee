// The Python module `crosscam_kernels._native`. It checks nothing that crosscam_kernels has checked
// already: shapes, dtypes and ranges are the business of similarity.py and crop.py.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu_features.h"
#include "crop.h"
#include "topk.h"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace {

using Rows = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;
template <typename T>
using Column = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Image = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::device::cpu>;
template <typename T, int N>
using Output = nb::ndarray<T, nb::ndim<N>, nb::device::cpu>;

crosscam::CameraRule camera_rule(const std::string& name) {
  if (name == "any") return crosscam::CameraRule::kAny;
  if (name == "exclude_same") return crosscam::CameraRule::kExcludeSame;
  if (name == "only_same") return crosscam::CameraRule::kOnlySame;
  throw std::invalid_argument("unknown camera rule '" + name + "'");
}

template <typename T>
const T* data_or_null(const std::optional<Column<T>>& array) {
  return array ? array->data() : nullptr;
}

void similarity_topk(
    const Rows& queries, const Rows& gallery, const std::optional<Column<uint8_t>>& valid,
    const std::optional<Column<int32_t>>& query_camera,
    const std::optional<Column<int32_t>>& gallery_camera, const std::string& rule,
    const std::optional<nb::ndarray<const uint64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>>&
        adjacency,
    const std::optional<Column<int64_t>>& query_time,
    const std::optional<Column<int64_t>>& gallery_time, std::array<int64_t, 2> window, int threads,
    const std::string& simd, const Output<float, 2>& similarity, const Output<int64_t, 2>& index) {
  crosscam::TopkProblem problem;
  problem.queries = queries.data();
  problem.query_count = static_cast<int64_t>(queries.shape(0));
  problem.query_stride = queries.stride(0);
  problem.gallery = gallery.data();
  problem.gallery_count = static_cast<int64_t>(gallery.shape(0));
  problem.gallery_stride = gallery.stride(0);
  problem.dim = static_cast<int64_t>(queries.shape(1));
  problem.k = static_cast<int64_t>(similarity.shape(1));
  problem.valid = data_or_null(valid);
  problem.query_camera = data_or_null(query_camera);
  problem.gallery_camera = data_or_null(gallery_camera);
  problem.rule = camera_rule(rule);
  if (adjacency) {
    problem.adjacency = adjacency->data();
    problem.adjacency_words = static_cast<int64_t>(adjacency->shape(1));
  }
  problem.query_time = data_or_null(query_time);
  problem.gallery_time = data_or_null(gallery_time);
  problem.window_low = window[0];
  problem.window_high = window[1];
  problem.threads = threads;
  problem.simd = crosscam::simd_level(simd);
  float* const similarity_out = similarity.data();
  int64_t* const index_out = index.data();
  const nb::gil_scoped_release release;
  crosscam::similarity_topk(problem, similarity_out, index_out);
}

void crop_resize_normalize(
    const std::vector<Image>& images,
    const nb::ndarray<const int64_t, nb::shape<-1, 5>, nb::c_contig, nb::device::cpu>& boxes,
    std::array<int, 3> source_channel, std::array<float, 3> gain, std::array<float, 3> bias,
    int threads, const std::string& simd, const Output<float, 4>& out) {
  std::vector<crosscam::ImageView> views;
  views.reserve(images.size());
  for (const Image& image : images) {
    views.push_back({image.data(), static_cast<int64_t>(image.shape(0)),
                     static_cast<int64_t>(image.shape(1)), image.stride(0)});
  }
  std::vector<crosscam::CropBox> crops;
  crops.reserve(boxes.shape(0));
  for (size_t n = 0; n < boxes.shape(0); ++n) {
    const int64_t* const box = boxes.data() + 5 * n;
    crops.push_back({box[0], box[1], box[2], box[3], box[4]});
  }
  crosscam::CropProblem problem;
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
  problem.simd = crosscam::simd_level(simd);
  const nb::gil_scoped_release release;
  crosscam::crop_resize_normalize(problem);
}

std::vector<std::string> simd_levels() {
  std::vector<std::string> names;
  for (const auto level : crosscam::simd_levels()) names.emplace_back(crosscam::simd_name(level));
  return names;
}

}  // namespace

NB_MODULE(_native, m) {
  m.def("simd_levels", &simd_levels);
  m.def("similarity_topk", &similarity_topk, nb::kw_only(), "queries"_a.noconvert(),
        "gallery"_a.noconvert(), "valid"_a.noconvert().none(), "query_camera"_a.noconvert().none(),
        "gallery_camera"_a.noconvert().none(), "rule"_a, "adjacency"_a.noconvert().none(),
        "query_time"_a.noconvert().none(), "gallery_time"_a.noconvert().none(), "window"_a,
        "threads"_a, "simd"_a, "similarity"_a.noconvert(), "index"_a.noconvert());
  m.def("crop_resize_normalize", &crop_resize_normalize, nb::kw_only(), "images"_a.noconvert(),
        "boxes"_a.noconvert(), "source_channel"_a, "gain"_a, "bias"_a, "threads"_a, "simd"_a,
        "out"_a.noconvert());
}
