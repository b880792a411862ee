#include "memory.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "dense.h"
#include "parallel.h"
#include "topk_heap.h"

namespace crosscam {
namespace {

constexpr int64_t kSlabFloats = 4 << 20;  // weights kept at one time in the backward pass
constexpr int64_t kSlabGroups = 40;
constexpr int64_t kHardRanges = 8;

/// Which rows are positives and negatives of the samples of a block.
class BankMasks {
 public:
  BankMasks(const MemoryProblem& problem, const SampleBlocks& blocks)
      : problem_(problem),
        labels_(blocks, problem.samples.targets),
        cameras_(blocks, problem.samples.cameras),
        label_of_(static_cast<size_t>(problem.bank.count), kUnused),
        camera_of_(problem.bank.cameras == nullptr ? 0 : label_of_.size()) {
    for (int64_t j = 0; j < problem.bank.count; ++j) {
      const int64_t label = problem.bank.labels == nullptr ? j : problem.bank.labels[j];
      if (label >= 0) label_of_[static_cast<size_t>(j)] = labels_.id(label);
    }
    for (size_t j = 0; j < camera_of_.size(); ++j)
      camera_of_[j] = cameras_.id(problem.bank.cameras[j]);
  }

  /// View of one worker.
  class Cursor {
   public:
    Cursor(const BankMasks& masks, const SampleBlocks& blocks)
        : masks_(masks),
          blocks_(blocks),
          label_bits_(blocks, masks.labels_),
          camera_bits_(blocks, masks.cameras_) {}

    void enter(int64_t block) {
      label_bits_.enter(block);
      camera_bits_.enter(block);
      all_ = blocks_.bits(block);
    }
    void row(int64_t j, uint64_t& positive, uint64_t& negative) const {
      const int32_t label = masks_.label_of_[static_cast<size_t>(j)];
      if (label == kUnused) {
        positive = negative = 0;
        return;
      }
      const uint64_t own_label = label_bits_.of(label);
      const uint64_t candidate = by_camera(masks_.problem_.candidates, j);
      positive = own_label & candidate & by_camera(masks_.problem_.positives, j);
      negative = ~own_label & candidate;
    }

   private:
    uint64_t by_camera(CameraRule rule, int64_t j) const {
      if (rule == CameraRule::kAny) return all_;
      const uint64_t same = camera_bits_.of(masks_.camera_of_[static_cast<size_t>(j)]);
      return rule == CameraRule::kOnlySame ? same : all_ & ~same;
    }

    const BankMasks& masks_;
    const SampleBlocks& blocks_;
    BlockBits<int64_t> label_bits_;
    BlockBits<int32_t> camera_bits_;
    uint64_t all_ = 0;
  };

 private:
  static constexpr int32_t kUnused = -2;

  const MemoryProblem& problem_;
  ValueBits<int64_t> labels_;
  ValueBits<int32_t> cameras_;
  std::vector<int32_t> label_of_;
  std::vector<int32_t> camera_of_;
};

/// The rows of one group that a block needs, and their scores.
struct Group {
  Group() : rows(kGroupRows + 2 * kMaxTileRows), threshold(kMaxQueryBlock) {}

  void clear() { count = 0; }
  void push(const float* row, int64_t index, uint64_t is_positive, uint64_t is_allowed) {
    const auto at = static_cast<size_t>(count++);
    rows[at] = row;
    indices[at] = index;
    positive[at] = is_positive;
    allowed[at] = is_allowed;
  }

  int count = 0;
  std::vector<const void*> rows;
  std::vector<float> threshold;
  int64_t indices[kGroupRows];
  uint64_t positive[kGroupRows];
  uint64_t allowed[kGroupRows];
  uint64_t hits[kGroupRows + kMaxTileRows];
  alignas(64) float scores[(kGroupRows + kMaxTileRows) * kMaxQueryBlock];
};

SampleBlocks pack(const MemoryProblem& problem, const TopkKernels& kernels) {
  return SampleBlocks(problem.samples, kernels, problem.candidates == CameraRule::kOnlySame);
}

double multiply_adds(const MemoryProblem& problem) {
  return static_cast<double>(problem.samples.count) * static_cast<double>(problem.bank.count) *
         static_cast<double>(problem.samples.dim);
}

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

}  // namespace

void memory_infonce(const MemoryProblem& problem, float* loss, const MemoryStatistics& statistics) {
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
      const int64_t block = unit / ranges, range = unit % ranges, first = blocks.first(block);
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

namespace {

/// Coefficients of the gradient of each packed sample.
struct Coefficients {
  std::vector<float> lse, factor, smooth, pull;

  Coefficients(const MemoryProblem& problem, const SampleBlocks& blocks,
               const MemoryStatistics& statistics, const float* grad) {
    const auto size = static_cast<size_t>(blocks.blocks() * blocks.capacity());
    for (auto* values : {&lse, &factor, &smooth, &pull}) values->assign(size, 0.0f);
    for (int64_t place = 0; place < blocks.count(); ++place) {
      const int64_t i = blocks.row(place);
      if (statistics.positives[i] == 0) continue;
      const auto at = static_cast<size_t>(place);
      const double scaled = static_cast<double>(grad[i]) / problem.temperature;
      const double smoothing = problem.label_smoothing;
      lse[at] = statistics.lse[i];
      factor[at] = static_cast<float>(scaled);
      pull[at] = static_cast<float>(scaled * (1.0 - smoothing) /
                                    static_cast<double>(statistics.positives[i]));
      if (smoothing != 0) {
        smooth[at] =
            static_cast<float>(scaled * smoothing / static_cast<double>(statistics.allowed[i]));
      }
    }
  }

  /// Bits of the samples of a block that have a loss.
  uint64_t counted(const SampleBlocks& blocks, const MemoryStatistics& statistics,
                   int64_t block) const {
    uint64_t bits = 0;
    for (int q = 0; q < blocks.samples(block); ++q) {
      const bool has = statistics.positives[blocks.row(blocks.first(block) + q)] != 0;
      bits |= static_cast<uint64_t>(has) << q;
    }
    return bits;
  }
};

/// For each block, its samples' hard negatives by row.
class ChosenRows {
 public:
  ChosenRows(const MemoryProblem& problem, const SampleBlocks& blocks,
             const MemoryStatistics& statistics)
      : rows_(static_cast<size_t>(blocks.blocks())) {
    for (int64_t b = 0; b < blocks.blocks(); ++b) {
      auto& rows = rows_[static_cast<size_t>(b)];
      for (int q = 0; q < blocks.samples(b); ++q) {
        const int64_t* const chosen =
            statistics.negatives + blocks.row(blocks.first(b) + q) * problem.hard_negatives;
        for (int64_t n = 0; n < problem.hard_negatives && chosen[n] >= 0; ++n) {
          rows.push_back({chosen[n], uint64_t{1} << q});
        }
      }
      std::sort(rows.begin(), rows.end());
    }
  }

  uint64_t bits(int64_t block, int64_t row) const {
    const auto& rows = rows_[static_cast<size_t>(block)];
    uint64_t bits = 0;
    for (auto at = std::lower_bound(rows.begin(), rows.end(), std::pair{row, uint64_t{0}});
         at != rows.end() && at->first == row; ++at) {
      bits |= at->second;
    }
    return bits;
  }

 private:
  std::vector<std::vector<std::pair<int64_t, uint64_t>>> rows_;
};

/// Copies a row with zeros in place of NaN and infinity. A sample that the row belongs to has a
/// weight of NaN for it; those it does not belong to have zero, and zero times NaN would be NaN.
void copy_finite(const float* from, int64_t count, float* to) {
  for (int64_t d = 0; d < count; ++d) to[d] = from[d] - from[d] == 0.0f ? from[d] : 0.0f;
}

/// The weights of one group of rows in the gradients of one block.
struct WeightedGroup {
  int count = 0;
  int64_t indices[kGroupRows];
};

}  // namespace

void memory_infonce_backward(const MemoryProblem& problem, const MemoryStatistics& statistics,
                             const float* grad, float* gradient) {
  const int64_t dim = problem.samples.dim;
  std::fill_n(gradient, problem.samples.count * dim, 0.0f);
  const TopkKernels& kernels = topk_kernels(problem.simd);
  const InfonceKernels& infonce = infonce_kernels(problem.simd);
  const SampleBlocks blocks = pack(problem, kernels);
  if (blocks.count() == 0 || problem.bank.count == 0) return;
  const BankMasks masks(problem, blocks);
  const Coefficients of(problem, blocks, statistics, grad);
  const bool hard = problem.hard_negatives >= 0;
  MemoryProblem only = problem;
  if (!hard) only.hard_negatives = 0;
  const ChosenRows chosen(only, blocks, statistics);

  const int64_t chunk = dense_kernels(problem.simd).width;
  const int64_t chunks = (dim + chunk - 1) / chunk;
  const int64_t packed = blocks.blocks() * blocks.capacity();
  const int64_t groups = (problem.bank.count + kGroupRows - 1) / kGroupRows;
  const int64_t slab =
      std::clamp<int64_t>(kSlabFloats / (kGroupRows * packed), 1, std::min(kSlabGroups, groups));
  std::vector<float> sums(static_cast<size_t>(blocks.count() * dim), 0.0f);
  std::vector<float> weights(static_cast<size_t>(slab * kGroupRows * packed));
  std::vector<WeightedGroup> weighted(static_cast<size_t>(slab * blocks.blocks()));
  const auto weights_of = [&](int64_t block, int64_t at) {
    return weights.data() + (block * slab + at) * kGroupRows * blocks.capacity();
  };
  const int workers = infonce_workers(multiply_adds(problem), kernels.lanes, problem.threads);

  for (int64_t begin = 0; begin < groups; begin += slab) {
    const int64_t here = std::min(slab, groups - begin);
    std::atomic<int64_t> next{0};
    run_workers(workers, [&](int) {  // weights = d loss / d score of the slab
      BankMasks::Cursor cursor(masks, blocks);
      Group group;
      for (int64_t unit = next++; unit < here * blocks.blocks(); unit = next++) {
        const int64_t block = unit / here, at = unit % here, first = blocks.first(block);
        const int width = blocks.width(block);
        const uint64_t counted = of.counted(blocks, statistics, block);
        cursor.enter(block);
        group.clear();
        const int64_t from = (begin + at) * kGroupRows;
        for (int64_t j = from; j < std::min(problem.bank.count, from + kGroupRows); ++j) {
          uint64_t positive = 0, negative = 0;
          cursor.row(j, positive, negative);
          if (hard) negative = chosen.bits(block, j);
          positive &= counted;
          negative &= counted;
          if ((positive | negative) == 0) continue;
          group.push(problem.bank.rows + j * problem.bank.stride, j, positive, positive | negative);
        }
        score_rows(kernels, blocks, block, dim, group.rows, group.count, group.threshold.data(),
                   group.scores, group.hits);
        float* const out = weights_of(block, at);
        infonce.softmax_weights({{group.scores, group.allowed, group.count, width},
                                 1.0f / problem.temperature,
                                 of.lse.data() + first,
                                 of.factor.data() + first,
                                 of.smooth.data() + first,
                                 out});
        for (int r = 0; r < group.count; ++r) {
          for (uint64_t bits = group.positive[r]; bits != 0; bits &= bits - 1) {
            const int q = __builtin_ctzll(bits);
            out[r * width + q] -= of.pull[static_cast<size_t>(first + q)];
          }
        }
        WeightedGroup& kept = weighted[static_cast<size_t>(block * slab + at)];
        kept.count = group.count;
        std::copy_n(group.indices, group.count, kept.indices);
      }
    });
    next = 0;
    run_workers(workers, [&](int) {  // sums += weights^T rows
      std::vector<float> panel(static_cast<size_t>(kGroupRows * chunk));
      for (int64_t unit = next++; unit < chunks * blocks.blocks(); unit = next++) {
        const int64_t block = unit / chunks, from = unit % chunks * chunk;
        const int64_t used = std::min(chunk, dim - from);
        for (int64_t at = 0; at < here; ++at) {
          const WeightedGroup& kept = weighted[static_cast<size_t>(block * slab + at)];
          for (int r = 0; r < kept.count; ++r) {
            copy_finite(problem.bank.rows + kept.indices[r] * problem.bank.stride + from, used,
                        panel.data() + r * chunk);
          }
          dense_accumulate(problem.simd, {weights_of(block, at), 1, blocks.width(block)},
                           blocks.samples(block), {panel.data(), kept.count, chunk}, used,
                           sums.data() + blocks.first(block) * dim + from, dim);
        }
      }
    });
  }
  for (int64_t place = 0; place < blocks.count(); ++place) {
    std::copy_n(sums.data() + place * dim, dim, gradient + blocks.row(place) * dim);
  }
}

}  // namespace crosscam
