#pragma once

#include <cstdint>

#include "infonce.h"
#include "topk.h"

namespace crosscam {

/// A bank of rows that no gradient reaches.
struct Bank {
  const float* rows = nullptr;  ///< (K, D)
  int64_t count = 0;
  int64_t stride = 0;                ///< floats between rows
  const int64_t* labels = nullptr;   ///< (K,) negative: not in use; null: row j has label j
  const int32_t* cameras = nullptr;  ///< (K,), or null
};

/// Arguments of `memory_infonce`.
struct MemoryProblem {
  Samples samples;
  Bank bank;
  CameraRule candidates = CameraRule::kAny;  ///< rows that take part at all
  CameraRule positives = CameraRule::kAny;   ///< of those with the sample's label, the positives
  int64_t hard_negatives = -1;               ///< most similar negatives kept; -1 keeps all
  float temperature = 1.0f;
  float label_smoothing = 0.0f;
  int threads = 0;
  SimdLevel simd = SimdLevel::kScalar;
};

/// What `memory_infonce` finds beside the losses; all arrays (N,).
struct MemoryStatistics {
  float* lse = nullptr;          ///< log-sum-exp over the allowed rows
  int64_t* positives = nullptr;  ///< number of positive rows; 0: the sample has no loss
  int64_t* allowed = nullptr;    ///< number of allowed rows; only with label smoothing
  int64_t* negatives = nullptr;  ///< (N, hard_negatives) hardest negatives, padded with -1
};

/// InfoNCE of each sample against a bank, see docs/reference/kernels/memory.md.
///
/// @param loss out (N,); zero where a sample has no positive row.
/// @param statistics out.
/// @param gradient out (N, D), contiguous: the gradient of each loss with respect to the features
/// of its sample; null when nobody asks. The losses have the same bits either way.
void memory_infonce(const MemoryProblem& problem, float* loss, const MemoryStatistics& statistics,
                    float* gradient);

/// How the samples of one label change their row.
enum class UpdateMode { kMomentum, kHardest, kMean };

/// Arguments of `update_memory`.
struct MemoryUpdate {
  float* rows = nullptr;  ///< (K, D) in and out
  int64_t count = 0;
  int64_t stride = 0;
  Samples samples;
  double momentum = 0;
  UpdateMode mode = UpdateMode::kMomentum;
  int threads = 0;
  SimdLevel simd = SimdLevel::kScalar;
};

/// Moves bank rows towards the samples of their label, in the order of the batch.
///
/// Each step is `row = momentum * row + (1 - momentum) * x; row /= |row|` in float32 with the norm
/// summed in float64, bit for bit what a loop over the batch computes.
void update_memory(const MemoryUpdate& update);

}  // namespace crosscam
