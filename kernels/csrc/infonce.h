#pragma once

// What the losses against a bank of rows and against a bank of instances share: the samples packed
// for the micro-kernels, masks by label and camera, and the merging of partial log-sum-exps.

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "infonce_kernels.h"
#include "simd_kernels.h"

namespace crosscam {

/// Groups of rows that one unit of parallel work walks through. Partial sums are merged in the
/// order of the units, so that the answer does not depend on who did them.
inline constexpr int64_t kGroupsPerRange = 16;

/// The samples of a batch that take part in a loss.
struct Samples {
  const float* features = nullptr;  ///< (N, D)
  int64_t count = 0;
  int64_t stride = 0;  ///< floats between rows
  int64_t dim = 0;
  const int64_t* targets = nullptr;  ///< (N,); negative: takes no part
  const int32_t* cameras = nullptr;  ///< (N,), or null
};

/// The samples packed for the score kernel: blocks of (D, width), the sample fastest.
class SampleBlocks {
 public:
  /// Samples of one camera stand together when `by_camera`, so that a block meets few cameras.
  SampleBlocks(const Samples& samples, const TopkKernels& kernels, bool by_camera);

  int64_t blocks() const { return (count() + block_ - 1) / block_; }
  int64_t count() const { return static_cast<int64_t>(order_.size()); }
  /// Place of the first sample of block `b` among the packed ones; blocks are `capacity()` apart.
  int64_t first(int64_t b) const { return b * block_; }
  int capacity() const { return block_; }
  int samples(int64_t b) const;
  int width(int64_t b) const;
  const float* data(int64_t b) const { return storage_.data() + b * block_ * dim_; }
  /// Row of `features` at a place.
  int64_t row(int64_t place) const { return order_[static_cast<size_t>(place)]; }
  /// Bit mask of the samples of block `b`.
  uint64_t bits(int64_t b) const;

 private:
  int block_, lanes_;
  int64_t dim_;
  std::vector<int64_t> order_;
  std::vector<float> storage_;
};

/// For each distinct value of a column of the batch, the samples of one block that hold it.
template <typename T>
class ValueBits {
 public:
  /// @param column (N,), or null: no value is known.
  ValueBits(const SampleBlocks& blocks, const T* column);

  /// Number of `value`, or -1 when no sample holds it.
  int32_t id(T value) const;
  int32_t ids() const { return static_cast<int32_t>(number_.size()); }
  /// Number of the value that the sample at a place holds.
  int32_t id_at(int64_t place) const { return ids_[static_cast<size_t>(place)]; }

 private:
  std::unordered_map<T, int32_t> number_;
  std::vector<int32_t> ids_;
};

/// Bits of the current block by number of value; one for each worker.
template <typename T>
class BlockBits {
 public:
  BlockBits(const SampleBlocks& blocks, const ValueBits<T>& values)
      : blocks_(blocks), values_(values), bits_(static_cast<size_t>(values.ids()), 0) {}

  void enter(int64_t b);
  uint64_t of(int32_t id) const { return id < 0 ? 0 : bits_[static_cast<size_t>(id)]; }

 private:
  const SampleBlocks& blocks_;
  const ValueBits<T>& values_;
  std::vector<uint64_t> bits_;
  int64_t block_ = -1;
};

/// One sample's share of a loss over a range of rows.
struct PartialLse {
  float max = 0;
  float sum = 0;             ///< of exp(s - max)
  double positive = 0;       ///< sum of s over positives
  double total = 0;          ///< sum of s over all allowed rows, where asked for
  int64_t positives = 0;     ///< number of positives
  int64_t allowed_rows = 0;  ///< number of allowed rows, where asked for
};

/// Accumulates the groups of one range for one block.
class LseAccumulator {
 public:
  LseAccumulator(const InfonceKernels& kernels, float scale, bool with_total)
      : kernels_(kernels), scale_(scale), with_total_(with_total) {}

  void begin(int width);
  void add(const ScoreGroup& group, const uint64_t* positive);
  /// Writes the shares of the first `samples` lanes.
  void finish(int samples, PartialLse* out) const;

 private:
  const InfonceKernels& kernels_;
  float scale_;
  bool with_total_;
  alignas(64) float max_[kMaxQueryBlock];
  alignas(64) float sum_[kMaxQueryBlock];
  PartialLse share_[kMaxQueryBlock];
};

/// Adds a share to the whole; exact in any order except for rounding, so call it in a fixed one.
void merge(PartialLse& whole, const PartialLse& share);

/// Workers for a number of multiply-adds of `lanes` at a time.
int infonce_workers(double multiply_adds, int lanes, int requested);

/// Scores rows against a block with the kernel of similarity_topk.
///
/// @param rows pointers to `count` rows, followed by room for 2 * kMaxTileRows more.
/// @param scores out (count + kMaxTileRows, width).
/// @param hits out (count + kMaxTileRows,): samples whose score exceeds `threshold` (width,).
void score_rows(const TopkKernels& kernels, const SampleBlocks& blocks, int64_t block, int64_t dim,
                std::vector<const void*>& rows, int count, const float* threshold, float* scores,
                uint64_t* hits);

}  // namespace crosscam
