#include "memory.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "memory_gradient.h"
#include "memory_masks.h"
#include "parallel.h"
#include "topk_heap.h"

namespace crosscam {
namespace {

constexpr int64_t kHardRanges = 8;

/// Rows of one unit of work; a multiple of the group that depends on nothing but the bank.
int64_t rows_per_range(int64_t count, bool hard) {
  const int64_t groups = (count + kGroupRows - 1) / kGroupRows;
  // Every range keeps its own hardest negatives, so there are few ranges then.
  const int64_t least = hard ? (groups + kHardRanges - 1) / kHardRanges : 0;
  return kGroupRows * std::max(kGroupsPerRange, least);
}

/// The most similar negatives of each sample, from the shares of all ranges.
class HardNegatives {
 public:
  HardNegatives(int64_t k, int64_t ranges, int64_t samples)
      : k_(static_cast<size_t>(std::max<int64_t>(k, 0))),
        samples_(samples),
        heaps_(k_ > 0 ? static_cast<size_t>(ranges * samples) : 0) {}

  bool any() const { return k_ > 0; }
  /// What the next group's negatives must exceed.
  void thresholds(int64_t range, int64_t first, int samples, float* threshold) const {
    for (int q = 0; q < samples; ++q) threshold[q] = heap(range, first + q).threshold(k_);
  }
  void add(int64_t range, int64_t first, const Group& group, int row, int width,
           uint64_t negatives) {
    for (uint64_t bits = negatives & group.hits[row]; bits != 0; bits &= bits - 1) {
      const int q = __builtin_ctzll(bits);
      const float score = group.scores[row * width + q];
      heaps_[static_cast<size_t>(range * samples_ + first + q)].push({score, group.indices[row]},
                                                                     k_);
    }
  }
  /// Best k of a sample over all ranges, best first.
  void collect(int64_t ranges, int64_t place, std::vector<Candidate>& out) const {
    out.clear();
    if (!any()) return;
    for (int64_t range = 0; range < ranges; ++range) {
      const auto& items = heap(range, place).items();
      out.insert(out.end(), items.begin(), items.end());
    }
    const size_t kept = std::min(k_, out.size());
    std::partial_sort(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(kept), out.end(),
                      better);
    out.resize(kept);
  }

 private:
  const TopkHeap& heap(int64_t range, int64_t place) const {
    return heaps_[static_cast<size_t>(range * samples_ + place)];
  }

  size_t k_;
  int64_t samples_;
  std::vector<TopkHeap> heaps_;
};

/// Adds the chosen negatives to a sample's log-sum-exp.
void add_negatives(const std::vector<Candidate>& negatives, float scale, PartialLse& whole) {
  for (const Candidate& item : negatives) {
    PartialLse share;
    share.max = item.similarity * scale;
    share.sum = 1.0f;
    share.total = static_cast<double>(item.similarity) * scale;
    share.allowed_rows = 1;
    merge(whole, share);
  }
}

void losses(const MemoryProblem& problem, float* loss, const MemoryStatistics& statistics) {
  const bool hard = problem.hard_negatives >= 0;
  const float scale = 1.0f / problem.temperature;
  std::fill_n(loss, problem.samples.count, 0.0f);
  std::fill_n(statistics.lse, problem.samples.count, 0.0f);
  std::fill_n(statistics.positives, problem.samples.count, int64_t{0});
  std::fill_n(statistics.allowed, problem.samples.count, int64_t{0});
  if (hard) {
    std::fill_n(statistics.negatives, problem.samples.count * problem.hard_negatives, int64_t{-1});
  }
  const TopkKernels& kernels = topk_kernels(problem.simd);
  const SampleBlocks blocks = pack(problem, kernels);
  const BankMasks masks(problem, blocks);
  const bool smooth = problem.label_smoothing != 0.0f;
  if (problem.bank.count == 0 || blocks.count() == 0) return;
  const int64_t range_rows = rows_per_range(problem.bank.count, hard);
  const int64_t ranges = (problem.bank.count + range_rows - 1) / range_rows;
  std::vector<PartialLse> shares(static_cast<size_t>(ranges * blocks.count()));
  HardNegatives negatives(problem.hard_negatives, ranges, blocks.count());

  std::atomic<int64_t> next{0};
  const int workers = infonce_workers(multiply_adds(problem), kernels.lanes, problem.threads);
  run_workers(workers, [&](int) {
    BankMasks::Cursor cursor(masks, blocks);
    LseAccumulator lse(infonce_kernels(problem.simd), scale, smooth);
    Group group;
    std::fill(group.threshold.begin(), group.threshold.end(),
              std::numeric_limits<float>::infinity());
    for (int64_t unit = next++; unit < ranges * blocks.blocks(); unit = next++) {
      // Blocks take turns on a range of rows, which then stays in the cache.
      const int64_t block = unit % blocks.blocks(), range = unit / blocks.blocks();
      const int64_t first = blocks.first(block);
      const int width = blocks.width(block);
      cursor.enter(block);
      lse.begin(width);
      const int64_t end = std::min(problem.bank.count, (range + 1) * range_rows);
      for (int64_t begin = range * range_rows; begin < end; begin += kGroupRows) {
        group.clear();
        for (int64_t j = begin; j < std::min(end, begin + kGroupRows); ++j) {
          uint64_t positive = 0, negative = 0;
          cursor.row(j, positive, negative);
          if (hard && !negatives.any()) negative = 0;
          if ((positive | negative) == 0) continue;
          // With hard negatives only the positives are summed here.
          group.push(problem.bank.rows + j * problem.bank.stride, j, positive,
                     hard ? positive : positive | negative);
        }
        if (negatives.any()) {
          negatives.thresholds(range, first, blocks.samples(block), group.threshold.data());
        }
        score_rows(kernels, blocks, block, problem.samples.dim, group.rows, group.count,
                   group.threshold.data(), group.scores, group.hits);
        lse.add({group.scores, group.allowed, group.count, width}, group.positive);
        for (int r = 0; negatives.any() && r < group.count; ++r) {
          uint64_t positive = 0, negative = 0;
          cursor.row(group.indices[r], positive, negative);
          negatives.add(range, first, group, r, width, negative);
        }
      }
      lse.finish(blocks.samples(block), shares.data() + range * blocks.count() + first);
    }
  });

  std::vector<Candidate> chosen;
  for (int64_t place = 0; place < blocks.count(); ++place) {
    PartialLse whole = shares[static_cast<size_t>(place)];
    for (int64_t range = 1; range < ranges; ++range) {
      merge(whole, shares[static_cast<size_t>(range * blocks.count() + place)]);
    }
    const int64_t i = blocks.row(place);
    if (whole.positives == 0) continue;
    if (hard) {
      negatives.collect(ranges, place, chosen);
      for (size_t n = 0; n < chosen.size(); ++n) {
        statistics.negatives[i * problem.hard_negatives + static_cast<int64_t>(n)] =
            chosen[n].index;
      }
      add_negatives(chosen, scale, whole);
    }
    const double lse = whole.max + std::log(static_cast<double>(whole.sum));
    double value = lse - (1.0 - problem.label_smoothing) * whole.positive /
                             static_cast<double>(whole.positives);
    if (smooth) {
      value -= problem.label_smoothing * whole.total / static_cast<double>(whole.allowed_rows);
    }
    loss[i] = static_cast<float>(value);
    statistics.lse[i] = static_cast<float>(lse);
    statistics.positives[i] = whole.positives;
    statistics.allowed[i] = whole.allowed_rows;
  }
}

}  // namespace

void memory_infonce(const MemoryProblem& problem, float* loss, const MemoryStatistics& statistics,
                    float* gradient) {
  if (gradient == nullptr) return losses(problem, loss, statistics);
  if (problem.hard_negatives < 0 && problem.label_smoothing == 0.0f) {
    return memory_infonce_one_pass(problem, loss, statistics, gradient);
  }
  losses(problem, loss, statistics);
  memory_infonce_second_pass(problem, statistics, gradient);
}

}  // namespace crosscam
