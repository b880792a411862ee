#pragma once

#include <cstdint>

#include "cpu_features.h"
#include "element.h"

namespace crosscam {

/// Which gallery cameras may answer a query, compared with the query's own camera.
enum class CameraRule { kAny, kExcludeSame, kOnlySame };

/// (N, D) feature rows; elements of a row are dense.
struct RowMatrix {
  const void* data = nullptr;
  int64_t stride = 0;  ///< elements from one row to the next
  Element element = Element::kFloat32;

  const void* row(int64_t n) const {
    return static_cast<const char*>(data) + n * stride * element_size(element);
  }
};

/// Largest feature dimension of int8 rows: 128 * 127 * D must fit 32 bits.
inline constexpr int64_t kMaxInt8Dim = 131072;

/// Arguments of `similarity_topk`. Optional arrays are null when absent; strides are in elements.
struct TopkProblem {
  const float* queries = nullptr;  ///< (Q, D), rows L2-normalised by contract
  int64_t query_count = 0;
  int64_t query_stride = 0;
  RowMatrix gallery;  ///< (G, D), rows L2-normalised by contract
  int64_t gallery_count = 0;
  const float* gallery_scale = nullptr;  ///< (G,) with int8: a row is scale * its values
  /// (G, D) copy of higher precision from which int8 rows were made; data is null when there is
  /// none.
  RowMatrix exact;
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
  /// window_low <= t_query - t_gallery <= window_high, for differences beyond int64 too. The least
  /// int64 as the lower bound, or the greatest as the upper one, is no bound.
  int64_t window_low = 0;
  int64_t window_high = 0;

  int threads = 0;  ///< at most this many workers; 0 means one per processor
  SimdLevel simd = SimdLevel::kScalar;
  bool dot = true;  ///< use dot-product instructions beyond the level where the processor has them
};

/// Exact masked top-k by inner product.
///
/// The similarity of a pair is `s = fma(g[d], q[d], s)` in fp32 for d = 0, 1, .. D - 1, where g is
/// the gallery row (of `exact` when it is given), widened to fp32 exactly. With int8 rows and no
/// `exact`, the query is rounded like `quantise_rows` does and the similarity is
/// `(float(integer dot product) * query scale) * row scale`. Either is the same to the last bit for
/// any number of threads and any instruction set.
///
/// Most calls take a first pass over rows of lower precision whose error is bounded, keep every row
/// that the bound cannot rule out, and compute those as defined above. Where the bound does not
/// hold (a row longer than its neighbours, NaN, too many near ties) all rows are computed as
/// defined. With `exact`, this rests on `gallery` being `quantise_rows(exact)`.
///
/// Results are ordered by similarity descending, then gallery index ascending. A similarity that is
/// NaN or minus infinity is never a result. Missing results are index -1 with similarity -inf.
///
/// @param similarity out (Q, k), contiguous.
/// @param index out (Q, k), contiguous.
void similarity_topk(const TopkProblem& problem, float* similarity, int64_t* index);

}  // namespace crosscam
