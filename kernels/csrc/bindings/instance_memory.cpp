#include "instance_memory.h"

#include <string>

#include "arrays.h"

namespace crosscam::python {
namespace {

/// (C, S, D) float32, contiguous.
using InstanceRows = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Filled = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

InstanceProblem problem_of(const Rows& features, const InstanceRows& bank, const Filled& filled,
                           const Column<int64_t>& targets,
                           const std::optional<Column<int32_t>>& class_cameras,
                           const std::optional<Column<int32_t>>& cameras, float temperature,
                           int threads, const std::string& simd) {
  InstanceProblem problem;
  problem.samples.features = features.data();
  problem.samples.count = static_cast<int64_t>(features.shape(0));
  problem.samples.stride = features.stride(0);
  problem.samples.dim = static_cast<int64_t>(features.shape(1));
  problem.samples.targets = targets.data();
  problem.samples.cameras = data_or_null(cameras);
  problem.bank.rows = bank.data();
  problem.bank.classes = static_cast<int64_t>(bank.shape(0));
  problem.bank.slots = static_cast<int64_t>(bank.shape(1));
  problem.bank.stride = static_cast<int64_t>(bank.shape(2));
  problem.bank.filled = filled.data();
  problem.bank.cameras = data_or_null(class_cameras);
  problem.temperature = temperature;
  problem.threads = threads;
  problem.simd = simd_level(simd);
  return problem;
}

void run_instance_infonce(const Rows& features, const InstanceRows& bank, const Filled& filled,
                          const Column<int64_t>& targets,
                          const std::optional<Column<int32_t>>& class_cameras,
                          const std::optional<Column<int32_t>>& cameras, float temperature,
                          int threads, const std::string& simd, const Output<float, 1>& loss,
                          const Output<float, 1>& lse, const Output<uint8_t, 1>& counted,
                          const std::optional<Output<float, 2>>& gradient) {
  const InstanceProblem problem = problem_of(features, bank, filled, targets, class_cameras,
                                             cameras, temperature, threads, simd);
  const nb::gil_scoped_release release;
  instance_infonce(problem, loss.data(), lse.data(), counted.data(),
                   gradient ? gradient->data() : nullptr);
}

}  // namespace

void bind_instance_memory(nb::module_& module) {
  module.def("instance_infonce", &run_instance_infonce, nb::kw_only(), "features"_a.noconvert(),
             "bank"_a.noconvert(), "filled"_a.noconvert(), "targets"_a.noconvert(),
             "class_cameras"_a.noconvert().none(), "cameras"_a.noconvert().none(), "temperature"_a,
             "threads"_a, "simd"_a, "loss"_a.noconvert(), "lse"_a.noconvert(),
             "counted"_a.noconvert(), "gradient"_a.noconvert().none());
}

}  // namespace crosscam::python
