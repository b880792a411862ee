// The momentum update of a bank.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "memory.h"
#include "parallel.h"
#include "simd_kernels.h"

namespace crosscam {
namespace {

constexpr float kLeastNorm = 1e-12f;  // as torch.nn.functional.normalize

class RowUpdater {
 public:
  explicit RowUpdater(const MemoryUpdate& update)
      : update_(update),
        kernels_(memory_row_kernels(update.simd)),
        keep_(static_cast<float>(update.momentum)),
        take_(static_cast<float>(1.0 - update.momentum)) {}

  /// `members`: the samples of the row's label in the order of the batch.
  void run(int64_t label, const std::vector<int64_t>& members) {
    float* const row = update_.rows + label * update_.stride;
    if (update_.mode == UpdateMode::kMomentum) {
      for (const int64_t i : members) step(row, sample(i));
    } else if (update_.mode == UpdateMode::kHardest) {
      double least = std::numeric_limits<double>::infinity();
      int64_t hardest = -1;
      for (const int64_t i : members) {
        const double similarity = kernels_.product(row, sample(i), dim());
        if (similarity < least) {
          least = similarity;
          hardest = i;
        }
      }
      if (hardest >= 0) step(row, sample(hardest));
    } else {
      std::vector<double> total(static_cast<size_t>(dim()), 0.0);
      for (const int64_t i : members) {
        for (int64_t d = 0; d < dim(); ++d) total[static_cast<size_t>(d)] += sample(i)[d];
      }
      std::vector<float> mean(total.size());
      for (size_t d = 0; d < total.size(); ++d) {
        mean[d] = static_cast<float>(total[d] / static_cast<double>(members.size()));
      }
      step(row, mean.data());
    }
  }

 private:
  int64_t dim() const { return update_.samples.dim; }
  const float* sample(int64_t i) const {
    return update_.samples.features + i * update_.samples.stride;
  }
  void step(float* row, const float* x) const {
    const double squared = kernels_.blend(row, x, dim(), keep_, take_);
    const float norm = static_cast<float>(std::sqrt(squared));
    kernels_.divide(row, dim(), norm < kLeastNorm ? kLeastNorm : norm);
  }

  const MemoryUpdate& update_;
  const MemoryRowKernels& kernels_;
  float keep_, take_;
};

}  // namespace

void update_memory(const MemoryUpdate& update) {
  const Samples& samples = update.samples;
  std::vector<int64_t> order;
  for (int64_t i = 0; i < samples.count; ++i) {
    if (samples.targets[i] >= 0 && samples.targets[i] < update.count) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return samples.targets[a] < samples.targets[b]; });
  std::vector<size_t> starts;
  for (size_t at = 0; at < order.size(); ++at) {
    if (at == 0 || samples.targets[order[at]] != samples.targets[order[at - 1]]) {
      starts.push_back(at);
    }
  }
  const auto rows = static_cast<int64_t>(starts.size());
  starts.push_back(order.size());
  const double work = 3.0 * static_cast<double>(order.size()) * static_cast<double>(samples.dim);
  std::atomic<int64_t> next{0};
  run_workers(infonce_workers(work, topk_kernels(update.simd).lanes, update.threads), [&](int) {
    RowUpdater updater(update);
    std::vector<int64_t> members;
    for (int64_t unit = next++; unit < rows; unit = next++) {
      const auto at = static_cast<size_t>(unit);
      members.assign(order.begin() + static_cast<std::ptrdiff_t>(starts[at]),
                     order.begin() + static_cast<std::ptrdiff_t>(starts[at + 1]));
      updater.run(samples.targets[members.front()], members);
    }
  });
}

}  // namespace crosscam
