#pragma once

#include <cstdint>

#include "cpu_features.h"
#include "dense.h"

namespace crosscam {

/// Which cameras a positive or a negative may come from, compared with the anchor's camera.
enum class PairRule { kAny, kSameCamera, kCrossCamera };

enum class Distance { kEuclidean, kSquaredEuclidean, kCosine };

/// The Euclidean distance is the root of at least this square, where it has no gradient.
inline constexpr float kLeastSquare = 1e-12f;

/// Arguments of `batch_hard`. Optional arrays are null when absent.
struct BatchHardProblem {
  DenseRows anchors;
  /// Data null: the anchors are the candidates, and no anchor is compared with itself.
  DenseRows candidates;
  int64_t dim = 0;
  const int64_t* anchor_label = nullptr;      ///< (N,)
  const int64_t* anchor_camera = nullptr;     ///< (N,)
  const int64_t* candidate_label = nullptr;   ///< (M,) with candidates only
  const int64_t* candidate_camera = nullptr;  ///< (M,)
  const int64_t* self_index = nullptr;        ///< (N,) candidate that is the anchor itself, or -1
  PairRule positives = PairRule::kAny;
  PairRule negatives = PairRule::kAny;
  Distance distance = Distance::kEuclidean;
  int threads = 0;  ///< at most this many workers; 0 means one per processor
  SimdLevel simd = SimdLevel::kScalar;

  bool own_candidates() const { return candidates.data == nullptr; }
  const DenseRows& compared() const { return own_candidates() ? anchors : candidates; }
};

/// For each anchor the hardest positive and the hardest negative, all arrays (N,).
struct HardestPairs {
  int64_t* positive_index;  ///< -1: the anchor has no positive
  int64_t* negative_index;
  float* positive_distance;  ///< -inf without a positive: the maximum over nothing
  float* negative_distance;  ///< +inf without a negative
};

/// The farthest positive and the nearest negative of each anchor.
///
/// Candidates are compared by the expanded square |a|^2 + |b|^2 - 2 <a, b> (or the cosine) in fp32,
/// whose products are those of `dense_products`; ties go to the smaller index; values that are not
/// finite never win. The distances of the pairs found are then computed from the differences of
/// their elements. Nothing of size N x M is kept: O((N + M) (dim + threads)) memory. The output
/// does not depend on the threads nor on the instruction set.
///
/// @throws std::length_error for 2^31 rows or more.
void batch_hard(const BatchHardProblem& problem, const HardestPairs& out);

/// The same, read only.
struct ChosenPairs {
  const int64_t* positive_index;
  const int64_t* negative_index;
  const float* positive_distance;
  const float* negative_distance;
};

/// What flows back into the distances of the pairs, dL / d distance: arrays (N,).
struct PairWeights {
  const float* positive;
  const float* negative;
};

/// Gradient of the features given that of the distances.
///
/// Each row of the result is one sum in a fixed order: the pairs of its own (positive, negative),
/// then those of the anchors that chose it, ascending. Only the 2 N chosen pairs are visited.
///
/// @param pairs what batch_hard found.
/// @param anchor_gradient out (N, dim), contiguous.
/// @param candidate_gradient out (M, dim), contiguous; null when the anchors are the candidates,
///     whose gradient then is all in `anchor_gradient`.
void batch_hard_gradient(const BatchHardProblem& problem, const ChosenPairs& pairs,
                         const PairWeights& weights, float* anchor_gradient,
                         float* candidate_gradient);

/// Sum of (a_d - b_d)^2.
float square_distance(const float* a, const float* b, int64_t dim);
/// Sum of a_d b_d, in the order of additions of `square_distance`.
float inner_product(const float* a, const float* b, int64_t dim);
/// 1 / max(norm, 1e-12).
float inverse_norm(float square_norm);

}  // namespace crosscam
