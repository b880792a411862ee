// Losses and gradients of `memory_infonce` in one pass over the bank. With m the running maximum of
// a sample's scaled scores and Z the running sum of exp(s - m), the sum of exp(s - m) c_j over the
// rows is kept beside Z and rescaled with it whenever m grows:
//   dL/dx = 1/temperature * ( (sum of exp(s - m) c_j) / Z - mean of the positives ).
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "memory_gradient.h"
#include "parallel.h"

namespace crosscam {
namespace {

constexpr int64_t kSamplesAtOnce = 2048;  // bounds the weights kept: samples do not meet each other

class OnePass {
 public:
  OnePass(const MemoryProblem& problem, const SampleBlocks& blocks)
      : problem_(problem),
        kernels_(topk_kernels(problem.simd)),
        infonce_(infonce_kernels(problem.simd)),
        scale_(1.0f / problem.temperature),
        blocks_(blocks),
        masks_(problem, blocks),
        workers_(infonce_workers(multiply_adds(problem), kernels_.lanes, problem.threads)),
        whole_(static_cast<size_t>(blocks.count())),
        rescale_(static_cast<size_t>(blocks.count())),
        weighted_(static_cast<size_t>(blocks.count() * problem.samples.dim), 0.0f),
        positive_(weighted_) {
    for (PartialLse& whole : whole_) whole.max = std::numeric_limits<float>::lowest();
  }

  void run() {
    const int64_t at_once = std::max<int64_t>(1, kSamplesAtOnce / blocks_.capacity());
    const int64_t groups = (problem_.bank.count + kGroupRows - 1) / kGroupRows;
    for (int64_t block = 0; block < blocks_.blocks(); block += at_once) {
      // Slabs are the ranges of the pass without gradients, so that both sum in the same order.
      WeightSlab slab(blocks_, block, std::min(at_once, blocks_.blocks() - block),
                      std::min(kGroupsPerRange, groups));
      for (int64_t begin = 0; begin < groups; begin += kGroupsPerRange) {
        const int64_t here = std::min(kGroupsPerRange, groups - begin);
        score(slab, begin, here);
        weigh(slab, here);
        add_weighted_rows(problem_, blocks_, slab, here, workers_,
                          {weighted_.data(), positive_.data(), rescale_.data()});
      }
    }
  }

  void write(float* loss, const MemoryStatistics& statistics, float* gradient) const {
    const int64_t dim = problem_.samples.dim;
    for (int64_t place = 0; place < blocks_.count(); ++place) {
      const PartialLse& whole = whole_[static_cast<size_t>(place)];
      if (whole.positives == 0) continue;
      const int64_t i = blocks_.row(place);
      const auto positives = static_cast<double>(whole.positives);
      const double lse = whole.max + std::log(static_cast<double>(whole.sum));
      loss[i] = static_cast<float>(lse - whole.positive / positives);
      statistics.lse[i] = static_cast<float>(lse);
      statistics.positives[i] = whole.positives;
      const float share = scale_ / whole.sum;
      const auto pull = static_cast<float>(static_cast<double>(scale_) / positives);
      for (int64_t d = 0; d < dim; ++d) {
        const auto at = static_cast<size_t>(place * dim + d);
        gradient[i * dim + d] = share * weighted_[at] - pull * positive_[at];
      }
    }
  }

 private:
  /// Scores of the slab, where its weights will stand.
  void score(WeightSlab& slab, int64_t begin, int64_t here) {
    std::atomic<int64_t> next{0};
    run_workers(workers_, [&](int) {
      BankMasks::Cursor cursor(masks_, blocks_);
      Group group;
      for (int64_t unit = next++; unit < here * slab.block_count(); unit = next++) {
        const int64_t at = unit / slab.block_count();
        const int64_t block = slab.first_block() + unit % slab.block_count();
        cursor.enter(block);
        group.clear();
        const int64_t from = (begin + at) * kGroupRows;
        for (int64_t j = from; j < std::min(problem_.bank.count, from + kGroupRows); ++j) {
          uint64_t positive = 0, negative = 0;
          cursor.row(j, positive, negative);
          if ((positive | negative) == 0) continue;
          group.push(problem_.bank.rows + j * problem_.bank.stride, j, positive,
                     positive | negative);
        }
        score_rows(kernels_, blocks_, block, problem_.samples.dim, group.rows, group.count,
                   group.threshold.data(), group.scores, group.hits);
        std::copy_n(group.scores, group.count * blocks_.width(block), slab.weights(block, at));
        slab.kept(block, at).keep(group);
      }
    });
  }

  /// Scores become exp(s - m) with the new maximum m; the log-sum-exp takes the slab in.
  void weigh(WeightSlab& slab, int64_t here) {
    std::atomic<int64_t> next{0};
    run_workers(workers_, [&](int) {
      LseAccumulator accumulator(infonce_, scale_, false);
      PartialLse share[kMaxQueryBlock];
      alignas(64) float largest[kMaxQueryBlock] = {}, one[kMaxQueryBlock],
                        none[kMaxQueryBlock] = {};
      std::fill_n(one, kMaxQueryBlock, 1.0f);
      for (int64_t unit = next++; unit < slab.block_count(); unit = next++) {
        const int64_t block = slab.first_block() + unit, first = blocks_.first(block);
        const int width = blocks_.width(block);
        accumulator.begin(width);
        for (int64_t at = 0; at < here; ++at) {
          const KeptGroup& kept = slab.kept(block, at);
          accumulator.add({slab.weights(block, at), kept.allowed, kept.count, width},
                          kept.positive);
        }
        accumulator.finish(blocks_.samples(block), share);
        for (int q = 0; q < blocks_.samples(block); ++q) {
          PartialLse& whole = whole_[static_cast<size_t>(first + q)];
          const float before = whole.max;
          merge(whole, share[q]);
          largest[q] = whole.max;
          rescale_[static_cast<size_t>(first + q)] =
              before == whole.max ? 1.0f : std::exp(before - whole.max);
        }
        for (int64_t at = 0; at < here; ++at) {
          const KeptGroup& kept = slab.kept(block, at);
          float* const weights = slab.weights(block, at);
          infonce_.softmax_weights(
              {{weights, kept.allowed, kept.count, width}, scale_, largest, one, none, weights});
        }
      }
    });
  }

  const MemoryProblem& problem_;
  const TopkKernels& kernels_;
  const InfonceKernels& infonce_;
  float scale_;
  const SampleBlocks& blocks_;
  BankMasks masks_;
  int workers_;
  std::vector<PartialLse> whole_;
  std::vector<float> rescale_;
  std::vector<float> weighted_, positive_;
};

}  // namespace

void memory_infonce_one_pass(const MemoryProblem& problem, float* loss,
                             const MemoryStatistics& statistics, float* gradient) {
  std::fill_n(loss, problem.samples.count, 0.0f);
  std::fill_n(statistics.lse, problem.samples.count, 0.0f);
  std::fill_n(statistics.positives, problem.samples.count, int64_t{0});
  std::fill_n(statistics.allowed, problem.samples.count, int64_t{0});
  std::fill_n(gradient, problem.samples.count * problem.samples.dim, 0.0f);
  const SampleBlocks blocks = pack(problem, topk_kernels(problem.simd));
  if (blocks.count() == 0 || problem.bank.count == 0) return;
  OnePass pass(problem, blocks);
  pass.run();
  pass.write(loss, statistics, gradient);
}

}  // namespace crosscam
