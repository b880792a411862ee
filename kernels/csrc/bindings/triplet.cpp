#include "triplet.h"

#include <stdexcept>
#include <string>

#include "arrays.h"
#include "batch_hard.h"

namespace crosscam::python {
namespace {

PairRule pair_rule(const std::string& name) {
  if (name == "any") return PairRule::kAny;
  if (name == "same_camera") return PairRule::kSameCamera;
  if (name == "cross_camera") return PairRule::kCrossCamera;
  throw std::invalid_argument("unknown pair rule '" + name + "'");
}

Distance distance_named(const std::string& name) {
  if (name == "euclidean") return Distance::kEuclidean;
  if (name == "squared_euclidean") return Distance::kSquaredEuclidean;
  if (name == "cosine") return Distance::kCosine;
  throw std::invalid_argument("unknown distance '" + name + "'");
}

Reduction reduction_named(const std::string& name) {
  if (name == "none") return Reduction::kNone;
  if (name == "mean") return Reduction::kMean;
  if (name == "mean_active") return Reduction::kMeanActive;
  throw std::invalid_argument("unknown reduction '" + name + "'");
}

DenseRows rows_of(const Rows& array) {
  return {array.data(), static_cast<int64_t>(array.shape(0)), array.stride(0)};
}

void set_rows(BatchHardProblem& problem, const Rows& features,
              const std::optional<Rows>& candidates) {
  problem.anchors = rows_of(features);
  problem.dim = static_cast<int64_t>(features.shape(1));
  if (!candidates) return;
  problem.candidates = rows_of(*candidates);
  // An empty array may have no address, which would read as "no candidates given".
  static const float nothing = 0.0f;
  if (problem.candidates.data == nullptr) problem.candidates.data = &nothing;
}

void run_batch_hard(const Rows& features, const std::optional<Rows>& candidates,
                    const Column<int64_t>& labels,
                    const std::optional<Column<int64_t>>& candidate_labels,
                    const std::optional<Column<int64_t>>& cameras,
                    const std::optional<Column<int64_t>>& candidate_cameras,
                    const std::optional<Column<int64_t>>& self_index, const std::string& positives,
                    const std::string& negatives, const std::string& distance, int threads,
                    const std::string& simd, const Output<int64_t, 1>& positive_index,
                    const Output<int64_t, 1>& negative_index,
                    const Output<float, 1>& positive_distance,
                    const Output<float, 1>& negative_distance) {
  BatchHardProblem problem;
  set_rows(problem, features, candidates);
  problem.anchor_label = labels.data();
  problem.candidate_label = data_or_null(candidate_labels);
  problem.anchor_camera = data_or_null(cameras);
  problem.candidate_camera = data_or_null(candidate_cameras);
  problem.self_index = data_or_null(self_index);
  problem.positives = pair_rule(positives);
  problem.negatives = pair_rule(negatives);
  problem.distance = distance_named(distance);
  problem.threads = threads;
  problem.simd = simd_level(simd);
  const HardestPairs out{positive_index.data(), negative_index.data(), positive_distance.data(),
                         negative_distance.data()};
  const nb::gil_scoped_release release;
  batch_hard(problem, out);
}

void run_batch_hard_gradient(const Rows& features, const std::optional<Rows>& candidates,
                             const Column<int64_t>& positive_index,
                             const Column<int64_t>& negative_index,
                             const Column<float>& positive_distance,
                             const Column<float>& negative_distance,
                             const Column<float>& positive_weight,
                             const Column<float>& negative_weight, const std::string& distance,
                             int threads, const Output<float, 2>& gradient,
                             const std::optional<Output<float, 2>>& candidate_gradient) {
  BatchHardProblem problem;
  set_rows(problem, features, candidates);
  problem.distance = distance_named(distance);
  problem.threads = threads;
  const ChosenPairs pairs{positive_index.data(), negative_index.data(), positive_distance.data(),
                          negative_distance.data()};
  const PairWeights weights{positive_weight.data(), negative_weight.data()};
  float* const to_candidates = candidate_gradient ? candidate_gradient->data() : nullptr;
  const nb::gil_scoped_release release;
  batch_hard_gradient(problem, pairs, weights, gradient.data(), to_candidates);
}

/// Returns (sum of the losses, scale).
std::pair<double, double> run_triplet_terms(const Column<float>& positive_distance,
                                            const Column<float>& negative_distance,
                                            std::optional<float> margin,
                                            const std::string& reduction,
                                            const Output<float, 1>& loss,
                                            const Output<float, 1>& slope) {
  const auto count = static_cast<int64_t>(positive_distance.shape(0));
  const TripletMargin shape{!margin.has_value(), margin.value_or(0.0f)};
  triplet_terms(positive_distance.data(), negative_distance.data(), count, shape, loss.data(),
                slope.data());
  const float scale = triplet_scale(positive_distance.data(), negative_distance.data(), loss.data(),
                                    count, reduction_named(reduction));
  return {triplet_sum(loss.data(), count), scale};
}

}  // namespace

void bind_triplet(nb::module_& module) {
  module.def("batch_hard", &run_batch_hard, nb::kw_only(), "features"_a.noconvert(),
             "candidates"_a.noconvert().none(), "labels"_a.noconvert(),
             "candidate_labels"_a.noconvert().none(), "cameras"_a.noconvert().none(),
             "candidate_cameras"_a.noconvert().none(), "self_index"_a.noconvert().none(),
             "positives"_a, "negatives"_a, "distance"_a, "threads"_a, "simd"_a,
             "positive_index"_a.noconvert(), "negative_index"_a.noconvert(),
             "positive_distance"_a.noconvert(), "negative_distance"_a.noconvert());
  module.def("batch_hard_gradient", &run_batch_hard_gradient, nb::kw_only(),
             "features"_a.noconvert(), "candidates"_a.noconvert().none(),
             "positive_index"_a.noconvert(), "negative_index"_a.noconvert(),
             "positive_distance"_a.noconvert(), "negative_distance"_a.noconvert(),
             "positive_weight"_a.noconvert(), "negative_weight"_a.noconvert(), "distance"_a,
             "threads"_a, "gradient"_a.noconvert(), "candidate_gradient"_a.noconvert().none());
  module.def("triplet_terms", &run_triplet_terms, nb::kw_only(), "positive_distance"_a.noconvert(),
             "negative_distance"_a.noconvert(), "margin"_a.none(), "reduction"_a,
             "loss"_a.noconvert(), "slope"_a.noconvert());
}

}  // namespace crosscam::python
