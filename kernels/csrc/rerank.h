#pragma once

#include <cstdint>
#include <vector>

#include "cpu_features.h"

namespace crosscam {

/// The nearest rows of every row, nearest first, padded with index -1.
struct NeighbourLists {
  const int64_t* index = nullptr;     ///< (N, width)
  const float* similarity = nullptr;  ///< (N, width)
  int64_t width = 0;
};

/// How far two rows are apart: d(i, j) = max(0, square[i] - 2 <left_i, right_j>) / far[i].
struct RerankMetric {
  const float* left = nullptr;   ///< (N, D)
  const float* right = nullptr;  ///< (N, D)
  int64_t left_stride = 0;
  int64_t right_stride = 0;
  int64_t dim = 0;
  const float* square = nullptr;  ///< (N,)
  const float* far = nullptr;     ///< (N,)

  float distance(int64_t row, float similarity) const {
    const float d = square[row] - 2.0f * similarity;
    return (d > 0.0f ? d : 0.0f) / far[row];
  }
};

/// The encoding of Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding"
/// (CVPR 2017), or its camera-aware variant, Chen et al., "CA-Jaccard" (CVPR 2024).
struct RerankProblem {
  int64_t count = 0;  ///< N, below 2^31
  RerankMetric metric;
  NeighbourLists all;           ///< of rows of any camera; k-reciprocal encoding
  int64_t k1 = 0;               ///< neighbours of R(i, k1); lists hold k1 + 1, the row itself first
  int64_t half_k1 = 0;          ///< of the sets that may join it
  int64_t k2 = 0;               ///< rows averaged by local query expansion
  NeighbourLists intra, inter;  ///< of the row's own camera, and of all others; camera-aware
  int64_t k1_intra = 0, k1_inter = 0, k2_intra = 0, k2_inter = 0;
  bool camera_aware = false;
  int threads = 0;
  SimdLevel simd = SimdLevel::kScalar;
};

/// Sparse rows: the entries of row i are at [begin[i], begin[i + 1]), columns ascending.
struct SparseRows {
  std::vector<int64_t> begin;
  std::vector<int32_t> column;
  std::vector<float> value;
};

/// The weights V (N, N) of every row's k-reciprocal neighbours after local query expansion.
SparseRows rerank_encode(const RerankProblem& problem);

/// Weights in memory that belongs to somebody else.
struct SparseView {
  const int64_t* begin = nullptr;
  const int32_t* column = nullptr;
  const float* value = nullptr;
};

/// What `rerank_distances` needs beside the encoding.
struct RerankDistances {
  int64_t query_count = 0;    ///< Q: rows [0, Q) are queries
  int64_t gallery_count = 0;  ///< G: rows [Q, Q + G) are the gallery
  RerankMetric metric;
  SparseView weights;    ///< (N, N)
  SparseView by_column;  ///< (N, G) transposed: for each column, gallery rows (from 0) and weights
  float lambda = 0.0f;
  int threads = 0;
  SimdLevel simd = SimdLevel::kScalar;
};

/// (1 - lambda) Jaccard distance + lambda distance, for queries [begin, end).
///
/// @param distances out (end - begin, G), or null.
/// @param k best rows to report, by distance, then index; 0 for none.
/// @param best_distance out (end - begin, k); infinity where there are fewer.
/// @param best_index out (end - begin, k); -1 where there are fewer.
void rerank_distances(const RerankDistances& problem, int64_t begin, int64_t end, float* distances,
                      int64_t k, float* best_distance, int64_t* best_index);

}  // namespace crosscam
