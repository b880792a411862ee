// With m the running maximum of a sample's scaled scores and Z the running sum of exp(s - m), the
// sum of exp(s - m) times the chosen instances is kept beside Z and rescaled with it whenever m
// grows:
//   dL/dx = 1/temperature * ( (sum of exp(s - m) b_c) / Z - b_own ).
// So a similarity is computed once, whether gradients are asked for or not.
#include "instance_memory.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"

namespace crosscam {
namespace {

constexpr int64_t kSlabFloats = 2 << 20;  // scores and slots kept at one time
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

/// Losses, and gradients where there is a place for them, slab by slab of class groups.
class InstancePass {
 public:
  InstancePass(const InstanceProblem& problem, float* gradient)
      : problem_(problem),
        kernels_(topk_kernels(problem.simd)),
        infonce_(infonce_kernels(problem.simd)),
        scale_(1.0f / problem.temperature),
        gradient_(gradient),
        blocks_(problem.samples, kernels_, problem.bank.cameras != nullptr),
        masks_(problem, blocks_),
        workers_(workers_for(problem)),
        whole_(static_cast<size_t>(blocks_.count())),
        rescale_(whole_.size()),
        own_(whole_.size(), nullptr) {
    for (PartialLse& whole : whole_) whole.max = std::numeric_limits<float>::lowest();
  }

  void run() {
    if (blocks_.count() == 0 || problem_.bank.classes == 0 || problem_.bank.slots == 0) return;
    const int64_t groups = (problem_.bank.classes + kGroupRows - 1) / kGroupRows;
    // As few groups as give every worker one: their rows are then still in the cache when the
    // chosen ones are added.
    const int64_t packed = blocks_.blocks() * blocks_.capacity();
    const int64_t bounded = std::max<int64_t>(1, kSlabFloats / (2 * kGroupRows * packed));
    slab_ = std::min({(workers_ + blocks_.blocks() - 1) / blocks_.blocks(), bounded, groups});
    kept_.resize(static_cast<size_t>(slab_ * blocks_.blocks()));
    for (int64_t begin = 0; begin < groups; begin += slab_) {
      const int64_t here = std::min(slab_, groups - begin);
      score(begin, here);
      weigh(here);
      if (gradient_ != nullptr) add_chosen(here);
    }
  }

  void write(float* loss, float* lse, uint8_t* counted) const {
    const int64_t dim = problem_.samples.dim;
    for (int64_t place = 0; place < blocks_.count(); ++place) {
      const PartialLse& whole = whole_[static_cast<size_t>(place)];
      const int64_t i = blocks_.row(place);
      float* const row = gradient_ == nullptr ? nullptr : gradient_ + i * dim;
      if (whole.positives == 0) {
        if (row != nullptr) std::fill_n(row, dim, 0.0f);
        continue;
      }
      const double sum = whole.max + std::log(static_cast<double>(whole.sum));
      loss[i] = static_cast<float>(sum - whole.positive);
      lse[i] = static_cast<float>(sum);
      counted[i] = 1;
      if (row == nullptr) continue;
      const float share = scale_ / whole.sum;
      const float* const own = own_[static_cast<size_t>(place)];
      for (int64_t d = 0; d < dim; ++d) row[d] = share * row[d] - scale_ * own[d];
    }
  }

 private:
  ClassGroup& kept(int64_t block, int64_t at) {
    return kept_[static_cast<size_t>(block * slab_ + at)];
  }
  /// The first slot of a class.
  const float* instances(int64_t c) const {
    return problem_.bank.rows + c * problem_.bank.slots * problem_.bank.stride;
  }

  void score(int64_t begin, int64_t here) {
    std::atomic<int64_t> next{0};
    run_workers(workers_, [&](int) {
      ClassScorer scorer(problem_, blocks_, masks_);
      for (int64_t unit = next++; unit < here * blocks_.blocks(); unit = next++) {
        const int64_t block = unit / here, at = unit % here;
        scorer.score(block, (begin + at) * kGroupRows, blocks_.bits(block), kept(block, at));
      }
    });
  }

  /// The log-sum-exp takes the slab in; for gradients, scores become exp(s - m) with the new m.
  void weigh(int64_t here) {
    std::atomic<int64_t> next{0};
    run_workers(std::min<int>(workers_, static_cast<int>(blocks_.blocks())), [&](int) {
      LseAccumulator accumulator(infonce_, scale_, false);
      PartialLse share[kMaxQueryBlock];
      alignas(64) float before[kMaxQueryBlock] = {}, largest[kMaxQueryBlock] = {},
                        one[kMaxQueryBlock], none[kMaxQueryBlock] = {};
      std::fill_n(one, kMaxQueryBlock, 1.0f);
      for (int64_t block = next++; block < blocks_.blocks(); block = next++) {
        const auto first = static_cast<size_t>(blocks_.first(block));
        const int width = blocks_.width(block), samples = blocks_.samples(block);
        for (int q = 0; q < samples; ++q) before[q] = whole_[first + static_cast<size_t>(q)].max;
        for (int64_t at = 0; at < here; ++at) {
          const ClassGroup& group = kept(block, at);
          accumulator.begin(width);
          accumulator.add(group.view(width), group.own);
          accumulator.finish(samples, share);
          for (int q = 0; q < samples; ++q) merge(whole_[first + static_cast<size_t>(q)], share[q]);
        }
        if (gradient_ == nullptr) continue;
        for (int q = 0; q < samples; ++q) {
          const auto place = first + static_cast<size_t>(q);
          largest[q] = whole_[place].max;
          rescale_[place] = before[q] == largest[q] ? 1.0f : std::exp(before[q] - largest[q]);
        }
        for (int64_t at = 0; at < here; ++at) {
          ClassGroup& group = kept(block, at);
          infonce_.softmax_weights({group.view(width), scale_, largest, one, none, group.scores});
          note_own(group, first, width);
        }
      }
    });
  }

  void note_own(const ClassGroup& group, size_t first, int width) {
    for (int r = 0; r < group.count; ++r) {
      for (uint64_t own = group.own[r]; own != 0; own &= own - 1) {
        const int q = __builtin_ctzll(own);
        const auto slot = static_cast<int64_t>(group.slots[r * width + q]);
        own_[first + static_cast<size_t>(q)] =
            instances(group.classes[r]) + slot * problem_.bank.stride;
      }
    }
  }

  /// gradient = rescale * gradient + sum of weight * chosen instance, class after class.
  void add_chosen(int64_t here) {
    const int64_t dim = problem_.samples.dim;
    const int64_t chunks = (dim + kSumChunk - 1) / kSumChunk;
    std::atomic<int64_t> next{0};
    run_workers(workers_, [&](int) {
      for (int64_t unit = next++; unit < chunks * blocks_.blocks(); unit = next++) {
        const int64_t block = unit / chunks, from = unit % chunks * kSumChunk;
        const int64_t used = std::min(kSumChunk, dim - from), first = blocks_.first(block);
        const int width = blocks_.width(block);
        for (int q = 0; q < blocks_.samples(block); ++q) {
          const float factor = rescale_[static_cast<size_t>(first + q)];
          if (factor == 1.0f) continue;
          float* const row = gradient_ + blocks_.row(first + q) * dim + from;
          for (int64_t d = 0; d < used; ++d) row[d] *= factor;
        }
        for (int64_t at = 0; at < here; ++at) {
          const ClassGroup& group = kept(block, at);
          for (int r = 0; r < group.count; ++r) {
            const float* const rows = instances(group.classes[r]) + from;
            for (uint64_t allowed = group.allowed[r]; allowed != 0; allowed &= allowed - 1) {
              const int q = __builtin_ctzll(allowed);
              const auto slot = static_cast<int64_t>(group.slots[r * width + q]);
              add_scaled(infonce_, kernels_.lanes, group.scores[r * width + q],
                         rows + slot * problem_.bank.stride,
                         gradient_ + blocks_.row(first + q) * dim + from, used);
            }
          }
        }
      }
    });
  }

  const InstanceProblem& problem_;
  const TopkKernels& kernels_;
  const InfonceKernels& infonce_;
  float scale_;
  float* gradient_;
  SampleBlocks blocks_;
  ClassMasks masks_;
  int workers_;
  int64_t slab_ = 1;
  std::vector<ClassGroup> kept_;
  std::vector<PartialLse> whole_;
  std::vector<float> rescale_;
  std::vector<const float*> own_;  ///< the chosen instance of the own class
};

}  // namespace

void instance_infonce(const InstanceProblem& problem, float* loss, float* lse, uint8_t* counted,
                      float* gradient) {
  std::fill_n(loss, problem.samples.count, 0.0f);
  std::fill_n(lse, problem.samples.count, 0.0f);
  std::fill_n(counted, problem.samples.count, uint8_t{0});
  if (gradient != nullptr) {
    std::fill_n(gradient, problem.samples.count * problem.samples.dim, 0.0f);
  }
  InstancePass pass(problem, gradient);
  pass.run();
  pass.write(loss, lse, counted);
}

}  // namespace crosscam
