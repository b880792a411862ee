#include "rerank.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"

namespace crosscam::python {
namespace {

template <typename T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
/// (index, similarity), both (N, width).
using Lists = std::pair<Matrix<int64_t>, Matrix<float>>;
/// (begin, column, value).
using Sparse = std::tuple<Column<int64_t>, Column<int32_t>, Column<float>>;

NeighbourLists neighbour_lists(const std::optional<Lists>& lists) {
  if (!lists) return {};
  return {lists->first.data(), lists->second.data(), static_cast<int64_t>(lists->first.shape(1))};
}

RerankMetric rerank_metric(const Rows& left, const Rows& right, const Column<float>& square,
                           const Column<float>& far) {
  return {left.data(),
          right.data(),
          left.stride(0),
          right.stride(0),
          static_cast<int64_t>(left.shape(1)),
          square.data(),
          far.data()};
}

SparseView sparse_view(const Sparse& sparse) {
  return {std::get<0>(sparse).data(), std::get<1>(sparse).data(), std::get<2>(sparse).data()};
}

/// Hands a vector over to NumPy without a copy.
template <typename T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> array_of(std::vector<T>&& values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* const data = owned->data();
  const size_t size = owned->size();
  const nb::capsule owner(owned.release(),
                          [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {size}, owner);
}

nb::tuple run_rerank_encode(const Rows& left, const Rows& right, const Column<float>& square,
                            const Column<float>& far, const std::optional<Lists>& any_camera,
                            const std::optional<Lists>& intra, const std::optional<Lists>& inter,
                            int64_t k1, int64_t half_k1, int64_t k2, int64_t k1_intra,
                            int64_t k1_inter, int64_t k2_intra, int64_t k2_inter, int threads,
                            const std::string& simd) {
  RerankProblem problem;
  problem.count = static_cast<int64_t>(left.shape(0));
  problem.metric = rerank_metric(left, right, square, far);
  problem.all = neighbour_lists(any_camera);
  problem.k1 = k1;
  problem.half_k1 = half_k1;
  problem.k2 = k2;
  problem.intra = neighbour_lists(intra);
  problem.inter = neighbour_lists(inter);
  problem.k1_intra = k1_intra;
  problem.k1_inter = k1_inter;
  problem.k2_intra = k2_intra;
  problem.k2_inter = k2_inter;
  problem.camera_aware = intra.has_value();
  problem.threads = threads;
  problem.simd = simd_level(simd);
  SparseRows rows;
  {
    const nb::gil_scoped_release release;
    rows = rerank_encode(problem);
  }
  return nb::make_tuple(array_of(std::move(rows.begin)), array_of(std::move(rows.column)),
                        array_of(std::move(rows.value)));
}

void run_rerank_distances(const Rows& left, const Rows& right, const Column<float>& square,
                          const Column<float>& far, int64_t query_count, const Sparse& weights,
                          const Sparse& by_column, float lambda_, int threads,
                          const std::string& simd, int64_t begin, int64_t end,
                          const std::optional<Output<float, 2>>& distances,
                          const std::optional<Output<float, 2>>& best_distance,
                          const std::optional<Output<int64_t, 2>>& best_index) {
  RerankDistances problem;
  problem.query_count = query_count;
  problem.gallery_count = static_cast<int64_t>(right.shape(0)) - query_count;
  problem.metric = rerank_metric(left, right, square, far);
  problem.weights = sparse_view(weights);
  problem.by_column = sparse_view(by_column);
  problem.lambda = lambda_;
  problem.threads = threads;
  problem.simd = simd_level(simd);
  const int64_t k = best_index ? static_cast<int64_t>(best_index->shape(1)) : 0;
  float* const rows = distances ? distances->data() : nullptr;
  float* const best = best_distance ? best_distance->data() : nullptr;
  int64_t* const index = best_index ? best_index->data() : nullptr;
  const nb::gil_scoped_release release;
  rerank_distances(problem, begin, end, rows, k, best, index);
}

}  // namespace

void bind_rerank(nb::module_& module) {
  module.def("rerank_encode", &run_rerank_encode, nb::kw_only(), "left"_a.noconvert(),
             "right"_a.noconvert(), "square"_a.noconvert(), "far"_a.noconvert(),
             "any_camera"_a.none(), "intra"_a.none(), "inter"_a.none(), "k1"_a, "half_k1"_a, "k2"_a,
             "k1_intra"_a, "k1_inter"_a, "k2_intra"_a, "k2_inter"_a, "threads"_a, "simd"_a);
  module.def("rerank_distances", &run_rerank_distances, nb::kw_only(), "left"_a.noconvert(),
             "right"_a.noconvert(), "square"_a.noconvert(), "far"_a.noconvert(), "query_count"_a,
             "weights"_a, "by_column"_a, "lambda_"_a, "threads"_a, "simd"_a, "begin"_a, "end"_a,
             "distances"_a.none(), "best_distance"_a.none(), "best_index"_a.none());
}

}  // namespace crosscam::python
