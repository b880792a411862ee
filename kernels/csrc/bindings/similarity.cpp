#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "arrays.h"
#include "topk.h"

namespace crosscam::python {
namespace {

CameraRule camera_rule(const std::string& name) {
  if (name == "any") return CameraRule::kAny;
  if (name == "exclude_same") return CameraRule::kExcludeSame;
  if (name == "only_same") return CameraRule::kOnlySame;
  throw std::invalid_argument("unknown camera rule '" + name + "'");
}

/// (N, D) rows of any element; the Python side has checked which.
using AnyRows = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;

RowMatrix row_matrix(const AnyRows& rows, const std::string& element) {
  RowMatrix matrix;
  matrix.data = rows.data();
  matrix.stride = rows.stride(0);
  if (element == "float32") {
    matrix.element = Element::kFloat32;
  } else if (element == "bfloat16") {
    matrix.element = Element::kBfloat16;
  } else if (element == "float16") {
    matrix.element = Element::kFloat16;
  } else if (element == "int8") {
    matrix.element = Element::kInt8;
  } else {
    throw std::invalid_argument("unknown element type '" + element + "'");
  }
  return matrix;
}

void run_similarity_topk(
    const Rows& queries, const AnyRows& gallery, const std::string& element,
    const std::optional<Column<float>>& scale, const std::optional<AnyRows>& exact,
    const std::string& exact_element, const std::optional<Column<uint8_t>>& valid,
    const std::optional<Column<int32_t>>& query_camera,
    const std::optional<Column<int32_t>>& gallery_camera, const std::string& rule,
    const std::optional<nb::ndarray<const uint64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>>&
        adjacency,
    const std::optional<Column<int64_t>>& query_time,
    const std::optional<Column<int64_t>>& gallery_time, std::array<int64_t, 2> window, int threads,
    const std::string& simd, bool dot, const Output<float, 2>& similarity,
    const Output<int64_t, 2>& index) {
  TopkProblem problem;
  problem.queries = queries.data();
  problem.query_count = static_cast<int64_t>(queries.shape(0));
  problem.query_stride = queries.stride(0);
  problem.gallery = row_matrix(gallery, element);
  problem.gallery_count = static_cast<int64_t>(gallery.shape(0));
  problem.gallery_scale = data_or_null(scale);
  if (exact) problem.exact = row_matrix(*exact, exact_element);
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
  problem.simd = simd_level(simd);
  problem.dot = dot;
  float* const similarity_out = similarity.data();
  int64_t* const index_out = index.data();
  const nb::gil_scoped_release release;
  similarity_topk(problem, similarity_out, index_out);
}

/// Bit patterns of bfloat16 in memory that NumPy has no type for, shared with the object.
nb::ndarray<nb::numpy, const uint16_t> bfloat16_bits(
    const nb::ndarray<nb::ro, nb::device::cpu>& array, nb::object owner) {
  std::vector<size_t> shape;
  std::vector<int64_t> strides;
  for (size_t axis = 0; axis < array.ndim(); ++axis) {
    shape.push_back(array.shape(axis));
    strides.push_back(array.stride(axis));
  }
  return {array.data(), array.ndim(), shape.data(), owner, strides.data()};
}

bool is_bfloat16(const nb::ndarray<nb::ro, nb::device::cpu>& array) {
  return array.dtype().code == static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat) &&
         array.dtype().bits == 16;
}

}  // namespace

void bind_similarity(nb::module_& module) {
  module.def(
      "bfloat16_bits",
      [](nb::object object) -> std::optional<nb::ndarray<nb::numpy, const uint16_t>> {
        nb::ndarray<nb::ro, nb::device::cpu> array;
        if (!nb::try_cast(object, array, false) || !is_bfloat16(array)) return std::nullopt;
        return bfloat16_bits(array, object);
      },
      "array"_a);
  module.def("similarity_topk", &run_similarity_topk, nb::kw_only(), "queries"_a.noconvert(),
             "gallery"_a.noconvert(), "element"_a, "scale"_a.noconvert().none(),
             "exact"_a.noconvert().none(), "exact_element"_a, "valid"_a.noconvert().none(),
             "query_camera"_a.noconvert().none(), "gallery_camera"_a.noconvert().none(), "rule"_a,
             "adjacency"_a.noconvert().none(), "query_time"_a.noconvert().none(),
             "gallery_time"_a.noconvert().none(), "window"_a, "threads"_a, "simd"_a, "dot"_a,
             "similarity"_a.noconvert(), "index"_a.noconvert());
}

}  // namespace crosscam::python
