#include "normalise.h"

#include <algorithm>
#include <atomic>

#include "parallel.h"
#include "simd_kernels.h"

namespace crosscam {
namespace {

constexpr int64_t kElementsPerThread = 65'536;  // below that a thread costs more than it brings
constexpr int64_t kElementsPerTask = 16'384;    // in whole rows: input and output stay in cache

}  // namespace

void normalise_quantise(const NormaliseProblem& problem, int8_t* codes, float* scale) {
  const NormaliseKernel& kernel = normalise_kernel(problem.simd);
  const int64_t dim = std::max<int64_t>(problem.dim, 1);
  const int64_t step = std::max<int64_t>(kElementsPerTask / dim, 1);
  const int workers = static_cast<int>(std::clamp<int64_t>(problem.count * dim / kElementsPerThread,
                                                           1, worker_count(problem.threads)));
  std::atomic<int64_t> next{0};
  run_workers(workers, [&](int) {
    for (int64_t begin = next.fetch_add(step); begin < problem.count;
         begin = next.fetch_add(step)) {
      const int64_t end = std::min(begin + step, problem.count);
      for (int64_t n = begin; n < end; ++n) {
        scale[n] =
            kernel.row(problem.rows + n * problem.stride, problem.dim, codes + n * problem.dim);
      }
    }
  });
}

}  // namespace crosscam
