#pragma once

// What both passes of `memory_infonce` share: who is a positive or a negative of whom, and the
// scores of one group of rows.

#include <vector>

#include "memory.h"

namespace crosscam {

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

inline SampleBlocks pack(const MemoryProblem& problem, const TopkKernels& kernels) {
  return SampleBlocks(problem.samples, kernels, problem.candidates == CameraRule::kOnlySame);
}

inline double multiply_adds(const MemoryProblem& problem) {
  return static_cast<double>(problem.samples.count) * static_cast<double>(problem.bank.count) *
         static_cast<double>(problem.samples.dim);
}

}  // namespace crosscam
