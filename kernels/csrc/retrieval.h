#pragma once

#include <cstdint>

#include "cpu_features.h"

namespace crosscam {

/// What two feature rows are compared by.
enum class RetrievalMetric { kInnerProduct, kCosine, kEuclidean };

/// Which gallery rows of the query's own identity are right; the others of it are left out.
enum class RetrievalProtocol {
  kAny,              ///< all of them
  kStandard,         ///< those of another group (camera, or tracklet)
  kClothesChanging,  ///< those of another group in other clothes
  kSameClothes,      ///< those of another group in the same clothes
};

/// Labels of both sides. Arrays that the protocol does not use may be null.
struct RetrievalLabels {
  const int64_t* query_id = nullptr;         ///< (Q,)
  const int64_t* gallery_id = nullptr;       ///< (G,)
  const int64_t* query_group = nullptr;      ///< (Q,)
  const int64_t* gallery_group = nullptr;    ///< (G,)
  const int64_t* query_clothes = nullptr;    ///< (Q,)
  const int64_t* gallery_clothes = nullptr;  ///< (G,)
  const uint8_t* valid = nullptr;            ///< (G,) zero: the row is not in the gallery; or null
  int64_t query_count = 0;
  int64_t gallery_count = 0;  ///< below 2^32
  RetrievalProtocol protocol = RetrievalProtocol::kStandard;
};

/// Feature rows to compare. Strides are in floats.
struct RetrievalFeatures {
  const float* queries = nullptr;  ///< (Q, D)
  int64_t query_stride = 0;
  const float* gallery = nullptr;  ///< (G, D)
  int64_t gallery_stride = 0;
  int64_t dim = 0;
  RetrievalMetric metric = RetrievalMetric::kInnerProduct;
};

/// What the ranking of each query comes to; every array is (Q,). Ranks count from 1.
struct RetrievalResult {
  double* average_precision = nullptr;  ///< NaN without a right answer
  int64_t* first_rank = nullptr;        ///< of the best right answer; 0 without any
  int64_t* last_rank = nullptr;         ///< of the worst right answer; 0 without any
  int64_t* positives = nullptr;         ///< number of right answers
};

/// Ranks of the right answers of each query, without a (Q, G) matrix.
///
/// Every gallery row is scored against every query by tiles, and only counted: how many rows come
/// before each right answer. The result is the one of a stable sort of the scores, for any number
/// of threads and any instruction set. Scores are one chain of fused multiply-adds over the
/// features (see TopkTile): of the rows as given; of rows scaled by float(1 / |x|); or, for
/// Euclidean distance, of q.g with -|g|^2 / 2 added last.
void retrieval_ranks(const RetrievalLabels& labels, const RetrievalFeatures& features, int threads,
                     SimdLevel simd, const RetrievalResult& result);

/// The same from distances that are known: row q holds `gallery_count` of them, `stride` floats
/// after row q - 1.
void retrieval_ranks(const RetrievalLabels& labels, const float* distances, int64_t stride,
                     int threads, const RetrievalResult& result);

}  // namespace crosscam
