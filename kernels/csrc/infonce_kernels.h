#pragma once

// What each instruction set provides for the contrastive losses. As in simd_kernels.h, only plain
// pointers cross this line. Vector lanes are samples, so that every sum over the rows of a bank is
// one chain per sample: neither the instruction set nor the other samples of a block change it.

#include <cstdint>

#include "cpu_features.h"

namespace crosscam {

/// Rows of a bank (or classes) whose scores are kept at one time.
inline constexpr int kGroupRows = 96;

/// Scores of one group of rows against a block of `width` samples, sample fastest.
struct ScoreGroup {
  const float* scores;      ///< (rows, width) similarities
  const uint64_t* allowed;  ///< (rows,): bit q set when the row stands in the sum of sample q
  int rows;
  int width;  ///< multiple of the lanes of the instruction set, at most 64
};

/// Running log-sum-exp of the samples of a block: sum of exp(scale * score - max).
struct LseUpdate {
  ScoreGroup group;
  float scale;  ///< 1 / temperature
  float* max;   ///< (width,) in and out; starts at the lowest float
  float* sum;   ///< (width,) in and out; starts at zero
};

/// Weight of each row in the gradient of each sample of a block.
struct WeightUpdate {
  ScoreGroup group;
  float scale;          ///< 1 / temperature
  const float* lse;     ///< (width,) log-sum-exp of the scaled scores
  const float* factor;  ///< (width,) multiplies the probability
  const float* smooth;  ///< (width,) subtracted from the weight of every allowed row
  float* weights;       ///< out (rows, width): factor * p - smooth, zero where not allowed
};

/// Hardest row of one class for each sample: the least similar where the class is its own, else
/// the most similar. Ties go to the earlier row; a score that is NaN is never chosen.
struct HardestRow {
  const float* scores;  ///< (rows, width)
  int rows;
  int width;
  uint64_t own;  ///< bit q set when this is the class of sample q
  float* score;  ///< out (width,); minus infinity (plus, when own) where none was chosen
  float* index;  ///< out (width,) row as a float; -1 where none was chosen
};

/// Kernels of the contrastive losses for one instruction set.
struct InfonceKernels {
  void (*add_exponentials)(const LseUpdate&);
  void (*softmax_weights)(const WeightUpdate&);
  void (*hardest_row)(const HardestRow&);
  /// out[i] = fma(weight, row[i], out[i]) for i < count, a multiple of the lanes.
  void (*add_scaled)(float weight, const float* row, float* out, int64_t count);
};

/// Kernels of an instruction set that `simd_levels()` lists.
const InfonceKernels& infonce_kernels(SimdLevel level);

}  // namespace crosscam
