#include <array>
#include <stdexcept>
#include <string>

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

void run_similarity_topk(
    const Rows& queries, const Rows& gallery, const std::optional<Column<uint8_t>>& valid,
    const std::optional<Column<int32_t>>& query_camera,
    const std::optional<Column<int32_t>>& gallery_camera, const std::string& rule,
    const std::optional<nb::ndarray<const uint64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>>&
        adjacency,
    const std::optional<Column<int64_t>>& query_time,
    const std::optional<Column<int64_t>>& gallery_time, std::array<int64_t, 2> window, int threads,
    const std::string& simd, const Output<float, 2>& similarity, const Output<int64_t, 2>& index) {
  TopkProblem problem;
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
  problem.simd = simd_level(simd);
  float* const similarity_out = similarity.data();
  int64_t* const index_out = index.data();
  const nb::gil_scoped_release release;
  similarity_topk(problem, similarity_out, index_out);
}

}  // namespace

void bind_similarity(nb::module_& module) {
  module.def("similarity_topk", &run_similarity_topk, nb::kw_only(), "queries"_a.noconvert(),
             "gallery"_a.noconvert(), "valid"_a.noconvert().none(),
             "query_camera"_a.noconvert().none(), "gallery_camera"_a.noconvert().none(), "rule"_a,
             "adjacency"_a.noconvert().none(), "query_time"_a.noconvert().none(),
             "gallery_time"_a.noconvert().none(), "window"_a, "threads"_a, "simd"_a,
             "similarity"_a.noconvert(), "index"_a.noconvert());
}

}  // namespace crosscam::python
