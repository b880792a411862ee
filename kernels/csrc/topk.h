#pragma once

#include <cstdint>

#include "cpu_features.h"

namespace crosscam {

/// Which gallery cameras may answer a query, compared with the query's own camera.
enum class CameraRule { kAny, kExcludeSame, kOnlySame };

/// Arguments of `similarity_topk`. Optional arrays are null when absent; strides are in floats.
struct TopkProblem {
  const float* queries = nullptr;  ///< (Q, D), rows L2-normalised by contract
  int64_t query_count = 0;
  int64_t query_stride = 0;
  const float* gallery = nullptr;  ///< (G, D), rows L2-normalised by contract
  int64_t gallery_count = 0;
  int64_t gallery_stride = 0;
  int64_t dim = 0;
  int64_t k = 0;

  const uint8_t* valid = nullptr;  ///< (G,) zero: never a result

  const int32_t* query_camera = nullptr;    ///< (Q,)
  const int32_t* gallery_camera = nullptr;  ///< (G,)
  CameraRule rule = CameraRule::kAny;
  /// (cameras, words): bit c % 64 of word c / 64 in row a: a query of camera a may match camera c.
  /// Every camera must then lie in [0, cameras) and [0, 64 * words).
  const uint64_t* adjacency = nullptr;
  int64_t adjacency_words = 0;

  const int64_t* query_time = nullptr;    ///< (Q,)
  const int64_t* gallery_time = nullptr;  ///< (G,)
  int64_t window_low = 0;                 ///< window_low <= t_query - t_gallery <= window_high
  int64_t window_high = 0;

  int threads = 0;  ///< at most this many workers; 0 means one per processor
  SimdLevel simd = SimdLevel::kScalar;
};

/// Exact masked top-k by inner product.
///
/// Results are ordered by similarity descending, then gallery index ascending. A similarity that is
/// NaN or minus infinity is never a result. Missing results are index -1 with similarity -inf. The
/// output does not depend on the number of threads nor on the instruction set (see TopkTile).
///
/// @param similarity out (Q, k), contiguous.
/// @param index out (Q, k), contiguous.
void similarity_topk(const TopkProblem& problem, float* similarity, int64_t* index);

}  // namespace crosscam
