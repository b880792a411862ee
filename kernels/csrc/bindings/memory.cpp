#include "memory.h"

#include <stdexcept>
#include <string>

#include "arrays.h"

namespace crosscam::python {
namespace {

CameraRule camera_rule(const std::string& name) {
  if (name == "any") return CameraRule::kAny;
  if (name == "exclude_same") return CameraRule::kExcludeSame;
  if (name == "only_same") return CameraRule::kOnlySame;
  throw std::invalid_argument("unknown camera rule '" + name + "'");
}

UpdateMode update_mode(const std::string& name) {
  if (name == "momentum") return UpdateMode::kMomentum;
  if (name == "hardest") return UpdateMode::kHardest;
  if (name == "mean") return UpdateMode::kMean;
  throw std::invalid_argument("unknown update mode '" + name + "'");
}

Samples samples_of(const Rows& features, const Column<int64_t>& targets) {
  Samples samples;
  samples.features = features.data();
  samples.count = static_cast<int64_t>(features.shape(0));
  samples.stride = features.stride(0);
  samples.dim = static_cast<int64_t>(features.shape(1));
  samples.targets = targets.data();
  return samples;
}

MemoryProblem problem_of(const Rows& features, const Rows& bank, const Column<int64_t>& targets,
                         const std::optional<Column<int64_t>>& labels,
                         const std::optional<Column<int32_t>>& cameras,
                         const std::optional<Column<int32_t>>& bank_cameras,
                         const std::string& candidates, const std::string& positives,
                         int64_t hard_negatives, float temperature, float label_smoothing,
                         int threads, const std::string& simd) {
  MemoryProblem problem;
  problem.samples = samples_of(features, targets);
  problem.samples.cameras = data_or_null(cameras);
  problem.bank = {bank.data(), static_cast<int64_t>(bank.shape(0)), bank.stride(0),
                  data_or_null(labels), data_or_null(bank_cameras)};
  problem.candidates = camera_rule(candidates);
  problem.positives = camera_rule(positives);
  problem.hard_negatives = hard_negatives;
  problem.temperature = temperature;
  problem.label_smoothing = label_smoothing;
  problem.threads = threads;
  problem.simd = simd_level(simd);
  return problem;
}

MemoryStatistics statistics_of(const Output<float, 1>& lse, const Output<int64_t, 1>& positives,
                               const Output<int64_t, 1>& allowed,
                               const Output<int64_t, 2>& negatives) {
  return {lse.data(), positives.data(), allowed.data(), negatives.data()};
}

void run_memory_infonce(
    const Rows& features, const Rows& bank, const Column<int64_t>& targets,
    const std::optional<Column<int64_t>>& labels, const std::optional<Column<int32_t>>& cameras,
    const std::optional<Column<int32_t>>& bank_cameras, const std::string& candidates,
    const std::string& positives, int64_t hard_negatives, float temperature, float label_smoothing,
    int threads, const std::string& simd, const Output<float, 1>& loss, const Output<float, 1>& lse,
    const Output<int64_t, 1>& positive_count, const Output<int64_t, 1>& allowed_count,
    const Output<int64_t, 2>& negatives, const std::optional<Output<float, 2>>& gradient) {
  const MemoryProblem problem =
      problem_of(features, bank, targets, labels, cameras, bank_cameras, candidates, positives,
                 hard_negatives, temperature, label_smoothing, threads, simd);
  const MemoryStatistics statistics = statistics_of(lse, positive_count, allowed_count, negatives);
  const nb::gil_scoped_release release;
  memory_infonce(problem, loss.data(), statistics, gradient ? gradient->data() : nullptr);
}

void run_update_memory(const Output<float, 2>& bank, const Rows& features,
                       const Column<int64_t>& targets, double momentum, const std::string& mode,
                       int threads, const std::string& simd) {
  MemoryUpdate update;
  update.rows = bank.data();
  update.count = static_cast<int64_t>(bank.shape(0));
  update.stride = bank.stride(0);
  update.samples = samples_of(features, targets);
  update.momentum = momentum;
  update.mode = update_mode(mode);
  update.threads = threads;
  update.simd = simd_level(simd);
  const nb::gil_scoped_release release;
  update_memory(update);
}

}  // namespace

void bind_memory(nb::module_& module) {
  module.def("memory_infonce", &run_memory_infonce, nb::kw_only(), "features"_a.noconvert(),
             "bank"_a.noconvert(), "targets"_a.noconvert(), "labels"_a.noconvert().none(),
             "cameras"_a.noconvert().none(), "bank_cameras"_a.noconvert().none(), "candidates"_a,
             "positives"_a, "hard_negatives"_a, "temperature"_a, "label_smoothing"_a, "threads"_a,
             "simd"_a, "loss"_a.noconvert(), "lse"_a.noconvert(), "positive_count"_a.noconvert(),
             "allowed_count"_a.noconvert(), "negatives"_a.noconvert(),
             "gradient"_a.noconvert().none());
  module.def("update_memory", &run_update_memory, nb::kw_only(), "bank"_a.noconvert(),
             "features"_a.noconvert(), "targets"_a.noconvert(), "momentum"_a, "mode"_a, "threads"_a,
             "simd"_a);
}

}  // namespace crosscam::python
