#include "normalise.h"

#include <string>

#include "arrays.h"

namespace crosscam::python {
namespace {

void run_normalise_quantise(const Rows& rows, int threads, const std::string& simd,
                            const Output<int8_t, 2>& codes, const Output<float, 1>& scale) {
  NormaliseProblem problem;
  problem.rows = rows.data();
  problem.count = static_cast<int64_t>(rows.shape(0));
  problem.dim = static_cast<int64_t>(rows.shape(1));
  problem.stride = rows.stride(0);
  problem.threads = threads;
  problem.simd = simd_level(simd);
  int8_t* const codes_out = codes.data();
  float* const scale_out = scale.data();
  const nb::gil_scoped_release release;
  normalise_quantise(problem, codes_out, scale_out);
}

}  // namespace

void bind_normalise(nb::module_& module) {
  module.def("normalise_quantise", &run_normalise_quantise, nb::kw_only(), "rows"_a.noconvert(),
             "threads"_a, "simd"_a, "codes"_a.noconvert(), "scale"_a.noconvert());
}

}  // namespace crosscam::python
