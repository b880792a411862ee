#include "instance_memory.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"

namespace crosscam {
namespace {

constexpr int64_t kSlabFloats = 2 << 20;  // weights kept at one time in the backward pass
constexpr int64_t kSlabGroups = 8;
constexpr int64_t kSumChunk = 512;  // features summed at one time: a class's slots stay in cache

/// Which classes are candidates of the samples of a block, and which is their own.
class ClassMasks {
 public:
  ClassMasks(const InstanceProblem& problem, const SampleBlocks& blocks)
      : problem_(problem),
        blocks_(blocks),
        labels_(blocks, problem.samples.targets),
        cameras_(blocks, problem.bank.cameras == nullptr ? nullptr : problem.samples.cameras) {}

  class Cursor {
   public:
    explicit Cursor(const ClassMasks& masks)
        : masks_(masks),
          label_bits_(masks.blocks_, masks.labels_),
          camera_bits_(masks.blocks_, masks.cameras_) {}

    void enter(int64_t block) {
      label_bits_.enter(block);
      camera_bits_.enter(block);
      all_ = masks_.blocks_.bits(block);
    }
    uint64_t candidates(int64_t c) const {
      const int32_t* const cameras = masks_.problem_.bank.cameras;
      return cameras == nullptr ? all_ : camera_bits_.of(masks_.cameras_.id(cameras[c]));
    }
    uint64_t own(int64_t c) const { return label_bits_.of(masks_.labels_.id(c)); }

   private:
    const ClassMasks& masks_;
    BlockBits<int64_t> label_bits_;
    BlockBits<int32_t> camera_bits_;
    uint64_t all_ = 0;
  };

 private:
  const InstanceProblem& problem_;
  const SampleBlocks& blocks_;
  ValueBits<int64_t> labels_;
  ValueBits<int32_t> cameras_;
};

/// The hardest similarity of each class of a group to each sample of a block.
struct ClassGroup {
  int count = 0;
  int64_t classes[kGroupRows];
  uint64_t own[kGroupRows];
  uint64_t allowed[kGroupRows];
  alignas(64) float scores[kGroupRows * kMaxQueryBlock];
  alignas(64) float slots[kGroupRows * kMaxQueryBlock];  // as floats; undefined where not allowed

  ScoreGroup view(int width) const { return {scores, allowed, count, width}; }
};

/// Makes class groups; one for each worker.
class ClassScorer {
 public:
  ClassScorer(const InstanceProblem& problem, const SampleBlocks& blocks, const ClassMasks& masks)
      : problem_(problem),
        blocks_(blocks),
        cursor_(masks),
        rows_(static_cast<size_t>(problem.bank.slots + 2 * kMaxTileRows)),
        slots_(static_cast<size_t>(problem.bank.slots)),
        hits_(static_cast<size_t>(problem.bank.slots + kMaxTileRows)),
        scores_(hits_.size() * kMaxQueryBlock),
        threshold_(kMaxQueryBlock, std::numeric_limits<float>::infinity()) {}

  /// Scores classes [begin, begin + kGroupRows) for the samples of `block` that are in `samples`.
  void score(int64_t block, int64_t begin, uint64_t samples, ClassGroup& group) {
    group.count = 0;
    cursor_.enter(block);
    const int64_t end = std::min(problem_.bank.classes, begin + kGroupRows);
    for (int64_t c = begin; c < end; ++c) {
      const uint64_t candidates = cursor_.candidates(c) & samples;
      if (candidates != 0) add(block, c, candidates, group);
    }
  }

 private:
  void add(int64_t block, int64_t c, uint64_t candidates, ClassGroup& group) {
    const InstanceBank& bank = problem_.bank;
    int stored = 0;
    for (int64_t s = 0; s < bank.slots; ++s) {
      if (bank.filled[c * bank.slots + s] == 0) continue;
      rows_[static_cast<size_t>(stored)] = bank.rows + (c * bank.slots + s) * bank.stride;
      slots_[static_cast<size_t>(stored++)] = static_cast<float>(s);
    }
    if (stored == 0) return;
    const int width = blocks_.width(block);
    score_rows(topk_kernels(problem_.simd), blocks_, block, problem_.samples.dim, rows_, stored,
               threshold_.data(), scores_.data(), hits_.data());
    const int at = group.count++;
    float* const score = group.scores + at * width;
    float* const slot = group.slots + at * width;
    const uint64_t own = cursor_.own(c) & candidates;
    infonce_kernels(problem_.simd).hardest_row({scores_.data(), stored, width, own, score, slot});
    uint64_t found = 0;
    for (int q = 0; q < width; ++q) {
      const auto row = static_cast<int>(slot[q]);
      found |= static_cast<uint64_t>(row >= 0) << q;
      slot[q] = slots_[static_cast<size_t>(std::max(row, 0))];
    }
    // An own class that holds nothing comparable is a broken sample: its loss is NaN, not nothing.
    for (uint64_t bits = own & ~found; bits != 0; bits &= bits - 1) {
      score[__builtin_ctzll(bits)] = std::numeric_limits<float>::quiet_NaN();
    }
    group.classes[at] = c;
    group.own[at] = own;
    group.allowed[at] = candidates & (found | own);
  }

  const InstanceProblem& problem_;
  const SampleBlocks& blocks_;
  ClassMasks::Cursor cursor_;
  std::vector<const void*> rows_;
  std::vector<float> slots_;
  std::vector<uint64_t> hits_;
  std::vector<float> scores_;
  std::vector<float> threshold_;
};

int workers_for(const InstanceProblem& problem) {
  const double steps =
      static_cast<double>(problem.samples.count) * static_cast<double>(problem.bank.classes) *
      static_cast<double>(problem.bank.slots) * static_cast<double>(problem.samples.dim);
  return infonce_workers(steps, topk_kernels(problem.simd).lanes, problem.threads);
}

/// gradient += weight * row for one chunk of features.
void add_scaled(const InfonceKernels& kernels, int lanes, float weight, const float* row,
                float* gradient, int64_t count) {
  const int64_t whole = count / lanes * lanes;
  kernels.add_scaled(weight, row, gradient, whole);
  for (int64_t d = whole; d < count; ++d) gradient[d] = std::fma(weight, row[d], gradient[d]);
}

}  // namespace

void instance_infonce(const InstanceProblem& problem, float* loss, float* lse, uint8_t* counted) {
  std::fill_n(loss, problem.samples.count, 0.0f);
  std::fill_n(lse, problem.samples.count, 0.0f);
  std::fill_n(counted, problem.samples.count, uint8_t{0});
  const SampleBlocks blocks(problem.samples, topk_kernels(problem.simd),
                            problem.bank.cameras != nullptr);
  if (blocks.count() == 0 || problem.bank.classes == 0 || problem.bank.slots == 0) return;
  const ClassMasks masks(problem, blocks);
  const int64_t groups = (problem.bank.classes + kGroupRows - 1) / kGroupRows;
  std::vector<PartialLse> shares(static_cast<size_t>(groups * blocks.count()));

  std::atomic<int64_t> next{0};
  run_workers(workers_for(problem), [&](int) {
    ClassScorer scorer(problem, blocks, masks);
    LseAccumulator accumulator(infonce_kernels(problem.simd), 1.0f / problem.temperature, false);
    ClassGroup group;
    for (int64_t unit = next++; unit < groups * blocks.blocks(); unit = next++) {
      const int64_t block = unit / groups, at = unit % groups;
      scorer.score(block, at * kGroupRows, blocks.bits(block), group);
      accumulator.begin(blocks.width(block));
      accumulator.add(group.view(blocks.width(block)), group.own);
      accumulator.finish(blocks.samples(block),
                         shares.data() + at * blocks.count() + blocks.first(block));
    }
  });
  for (int64_t place = 0; place < blocks.count(); ++place) {
    PartialLse whole = shares[static_cast<size_t>(place)];
    for (int64_t at = 1; at < groups; ++at) {
      merge(whole, shares[static_cast<size_t>(at * blocks.count() + place)]);
    }
    if (whole.positives == 0) continue;
    const int64_t i = blocks.row(place);
    const double sum = whole.max + std::log(static_cast<double>(whole.sum));
    loss[i] = static_cast<float>(sum - whole.positive);
    lse[i] = static_cast<float>(sum);
    counted[i] = 1;
  }
}

void instance_infonce_backward(const InstanceProblem& problem, const float* lse,
                               const uint8_t* counted, const float* grad, float* gradient) {
  const int64_t dim = problem.samples.dim;
  std::fill_n(gradient, problem.samples.count * dim, 0.0f);
  const TopkKernels& kernels = topk_kernels(problem.simd);
  const InfonceKernels& infonce = infonce_kernels(problem.simd);
  const SampleBlocks blocks(problem.samples, kernels, problem.bank.cameras != nullptr);
  if (blocks.count() == 0 || problem.bank.classes == 0 || problem.bank.slots == 0) return;
  const ClassMasks masks(problem, blocks);

  const int64_t packed = blocks.blocks() * blocks.capacity();
  std::vector<float> packed_lse(static_cast<size_t>(packed), 0.0f);
  std::vector<float> factor(packed_lse), none(packed_lse);
  std::vector<uint64_t> bits(static_cast<size_t>(blocks.blocks()), 0);
  for (int64_t place = 0; place < blocks.count(); ++place) {
    const int64_t i = blocks.row(place);
    if (counted[i] == 0) continue;
    packed_lse[static_cast<size_t>(place)] = lse[i];
    factor[static_cast<size_t>(place)] = grad[i] / problem.temperature;
    bits[static_cast<size_t>(place / blocks.capacity())] |= uint64_t{1}
                                                            << place % blocks.capacity();
  }
  const int64_t groups = (problem.bank.classes + kGroupRows - 1) / kGroupRows;
  const int64_t slab =
      std::clamp<int64_t>(kSlabFloats / (kGroupRows * packed), 1, std::min(kSlabGroups, groups));
  std::vector<ClassGroup> kept(static_cast<size_t>(slab * blocks.blocks()));
  const int64_t chunks = (dim + kSumChunk - 1) / kSumChunk;
  const int workers = workers_for(problem);

  for (int64_t begin = 0; begin < groups; begin += slab) {
    const int64_t here = std::min(slab, groups - begin);
    std::atomic<int64_t> next{0};
    run_workers(workers, [&](int) {  // scores of the slab become weights
      ClassScorer scorer(problem, blocks, masks);
      for (int64_t unit = next++; unit < here * blocks.blocks(); unit = next++) {
        const int64_t block = unit / here, at = unit % here, first = blocks.first(block);
        const int width = blocks.width(block);
        ClassGroup& group = kept[static_cast<size_t>(block * slab + at)];
        scorer.score(block, (begin + at) * kGroupRows, bits[static_cast<size_t>(block)], group);
        infonce.softmax_weights({group.view(width), 1.0f / problem.temperature,
                                 packed_lse.data() + first, factor.data() + first,
                                 none.data() + first, group.scores});
        for (int r = 0; r < group.count; ++r) {
          for (uint64_t own = group.own[r]; own != 0; own &= own - 1) {
            const int q = __builtin_ctzll(own);
            group.scores[r * width + q] -= factor[static_cast<size_t>(first + q)];
          }
        }
      }
    });
    next = 0;
    run_workers(workers, [&](int) {  // gradient += weight * chosen instance, class after class
      for (int64_t unit = next++; unit < chunks * blocks.blocks(); unit = next++) {
        const int64_t block = unit / chunks, from = unit % chunks * kSumChunk;
        const int64_t used = std::min(kSumChunk, dim - from);
        const int width = blocks.width(block);
        for (int64_t at = 0; at < here; ++at) {
          const ClassGroup& group = kept[static_cast<size_t>(block * slab + at)];
          for (int r = 0; r < group.count; ++r) {
            const float* const instances =
                problem.bank.rows + group.classes[r] * problem.bank.slots * problem.bank.stride;
            for (uint64_t allowed = group.allowed[r]; allowed != 0; allowed &= allowed - 1) {
              const int q = __builtin_ctzll(allowed);
              const auto slot = static_cast<int64_t>(group.slots[r * width + q]);
              add_scaled(infonce, kernels.lanes, group.scores[r * width + q],
                         instances + slot * problem.bank.stride + from,
                         gradient + blocks.row(blocks.first(block) + q) * dim + from, used);
            }
          }
        }
      }
    });
  }
}

}  // namespace crosscam
