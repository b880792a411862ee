#pragma once

// The gradient of `memory_infonce`: sums of bank rows, weighted slab by slab of rows. A slab holds
// the weights of some groups of rows for all blocks of samples; rows enter every sum in ascending
// order, so neither the size of a slab nor the number of workers changes a bit.

#include <vector>

#include "memory_masks.h"

namespace crosscam {

/// The rows of one group that a block needs.
struct KeptGroup {
  int count = 0;
  int64_t indices[kGroupRows];
  uint64_t positive[kGroupRows];
  uint64_t allowed[kGroupRows];

  void keep(const Group& group);
  bool same_rows(const KeptGroup& other) const;
};

/// Scores, which become weights, of up to `groups` groups of rows for some blocks of samples.
class WeightSlab {
 public:
  WeightSlab(const SampleBlocks& blocks, int64_t first_block, int64_t block_count, int64_t groups)
      : blocks_(blocks),
        first_(first_block),
        groups_(groups),
        kept_(static_cast<size_t>(block_count * groups)),
        weights_(kept_.size() * static_cast<size_t>(kGroupRows * blocks.capacity())) {}

  int64_t groups() const { return groups_; }
  int64_t first_block() const { return first_; }
  int64_t block_count() const { return static_cast<int64_t>(kept_.size()) / groups_; }
  KeptGroup& kept(int64_t block, int64_t at) {
    return kept_[static_cast<size_t>((block - first_) * groups_ + at)];
  }
  /// (rows, width) of a group, sample fastest.
  float* weights(int64_t block, int64_t at) {
    const int64_t place = ((block - first_) * groups_ + at) * kGroupRows * blocks_.capacity();
    return weights_.data() + place;
  }

 private:
  const SampleBlocks& blocks_;
  int64_t first_, groups_;
  std::vector<KeptGroup> kept_;
  std::vector<float> weights_;
};

/// Where the weighted rows of a slab go; arrays over the places of the packed samples.
struct RowSums {
  float* weighted = nullptr;       ///< (places, D) in and out
  float* positive = nullptr;       ///< (places, D) in and out: plain sum of positives; or null
  const float* rescale = nullptr;  ///< (places,) multiplies `weighted` before; or null
};

/// weighted = rescale * weighted + weights^T rows for the first `groups` groups of a slab.
///
/// NaN and infinity in a row count as zero: a sample that the row belongs to has a weight of NaN
/// for it; those it does not belong to have zero, and zero times NaN would be NaN.
void add_weighted_rows(const MemoryProblem& problem, const SampleBlocks& blocks, WeightSlab& slab,
                       int64_t groups, int workers, const RowSums& sums);

/// Losses and gradients at once: each score is computed one time, and the sums follow the running
/// maximum of the sample. All negatives, no label smoothing.
void memory_infonce_one_pass(const MemoryProblem& problem, float* loss,
                             const MemoryStatistics& statistics, float* gradient);

/// Gradients from what the losses left in `statistics`: the scores are computed anew.
void memory_infonce_second_pass(const MemoryProblem& problem, const MemoryStatistics& statistics,
                                float* gradient);

}  // namespace crosscam
