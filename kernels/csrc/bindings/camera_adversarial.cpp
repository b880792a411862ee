#include "camera_adversarial.h"

#include <string>

#include "arrays.h"

namespace crosscam::python {
namespace {

using Labels = Column<int64_t>;

DenseRows dense(const Rows& rows) {
  return {rows.data(), static_cast<int64_t>(rows.shape(0)), rows.stride(0)};
}

void run_camera_adversarial(const Rows& features, const Rows& classifier, const Labels& labels,
                            const std::optional<Labels>& group, const std::optional<Labels>& camera,
                            bool ignore_linked, double epsilon, float scale, double margin,
                            float boost, int threads, const std::string& simd,
                            const Output<float, 1>& loss, const Output<float, 1>& log_sum,
                            const Output<float, 1>& slope,
                            const std::optional<Output<float, 2>>& gradient) {
  CameraAdversarialProblem problem;
  problem.features = dense(features);
  problem.classes = dense(classifier);
  problem.dim = static_cast<int64_t>(features.shape(1));
  problem.label = labels.data();
  problem.group = data_or_null(group);
  problem.camera = data_or_null(camera);
  problem.ignore_linked = ignore_linked;
  problem.epsilon = epsilon;
  problem.scale = scale;
  problem.margin = margin;
  problem.boost = boost;
  problem.threads = threads;
  problem.simd = simd_level(simd);
  float* const gradient_out = gradient ? gradient->data() : nullptr;
  const nb::gil_scoped_release release;
  camera_adversarial(problem, loss.data(), log_sum.data(), slope.data(), gradient_out);
}

void run_camera_classifier_gradient(const Rows& features, const Rows& classifier,
                                    const Labels& labels, const Column<float>& weight,
                                    const Column<float>& log_sum, const Column<float>& slope,
                                    float scale, double margin, int threads,
                                    const std::string& simd, const Output<float, 2>& gradient) {
  CameraAdversarialProblem problem;
  problem.features = dense(features);
  problem.classes = dense(classifier);
  problem.dim = static_cast<int64_t>(features.shape(1));
  problem.label = labels.data();
  problem.scale = scale;
  problem.margin = margin;
  problem.threads = threads;
  problem.simd = simd_level(simd);
  const nb::gil_scoped_release release;
  camera_classifier_gradient(problem, weight.data(), log_sum.data(), slope.data(), gradient.data());
}

}  // namespace

void bind_camera_adversarial(nb::module_& module) {
  module.def("camera_adversarial", &run_camera_adversarial, nb::kw_only(), "features"_a.noconvert(),
             "classifier"_a.noconvert(), "labels"_a.noconvert(), "group"_a.noconvert().none(),
             "camera"_a.noconvert().none(), "ignore_linked"_a, "epsilon"_a, "scale"_a, "margin"_a,
             "boost"_a, "threads"_a, "simd"_a, "loss"_a.noconvert(), "log_sum"_a.noconvert(),
             "slope"_a.noconvert(), "gradient"_a.noconvert().none());
  module.def("camera_classifier_gradient", &run_camera_classifier_gradient, nb::kw_only(),
             "features"_a.noconvert(), "classifier"_a.noconvert(), "labels"_a.noconvert(),
             "weight"_a.noconvert(), "log_sum"_a.noconvert(), "slope"_a.noconvert(), "scale"_a,
             "margin"_a, "threads"_a, "simd"_a, "gradient"_a.noconvert());
}

}  // namespace crosscam::python
