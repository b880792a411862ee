#pragma once

// The search over a gallery that stays on the device; `Operators::similarity_topk` runs it.

#include <cstdint>

namespace crosscam::cuda {

/// Type of the elements of a feature matrix.
enum class Element { kFloat32, kFloat16, kBFloat16, kInt8 };

/// As the names of kernels spell it: "fp32", "fp16", "bf16", "i8".
const char* element_name(Element element);

/// Most results of a query: the lists that the compiled search kernels keep in registers.
inline constexpr int kSearchMaxK = 16;
/// Queries of one block of the search; each block of queries reads the gallery once.
inline constexpr int kSearchQueries = 16;

/// Arguments of a search. Everything points to memory of the device; features, scales and masks are
/// aligned to 16 bytes.
struct DeviceSearch {
  const void* queries = nullptr;  ///< (Q, D), rows L2-normalised by contract
  const void* gallery = nullptr;  ///< (G, D), likewise, of the same type
  Element element = Element::kFloat32;
  int64_t query_count = 0;
  int64_t gallery_count = 0;
  int64_t dim = 0;             ///< D, a multiple of 32 (fp32), 64 (fp16, bf16) or 128 (int8)
  int64_t query_stride = 0;    ///< elements from row to row, a multiple of 16
  int64_t gallery_stride = 0;  ///< likewise
  int k = 0;                   ///< 0 to `kSearchMaxK`

  /// (Q,) and (G,), for int8 only, as `normalise_quantise` makes them: similarities are
  /// (float(integer sum) * query scale) * gallery scale.
  const float* query_scale = nullptr;
  const float* gallery_scale = nullptr;

  // Masks: all three or none. For some of them alone, give the others values that forbid nothing.
  const uint8_t* valid = nullptr;           ///< (G,) zero: never a result
  const int32_t* query_camera = nullptr;    ///< (Q,)
  const int32_t* gallery_camera = nullptr;  ///< (G,) never a result for a query of the same camera
};

/// How the gallery is split over the blocks of a launch.
struct SearchSplit {
  int64_t query_blocks;
  int64_t splits;          ///< parts of the gallery; 0 for an empty one
  int64_t rows_per_split;  ///< a multiple of the rows of a tile
};

/// The split for a device with so many multiprocessors.
///
/// @throws std::invalid_argument when the sizes are not what the compiled kernels take.
SearchSplit split_search(const DeviceSearch& search, int multiprocessors);

}  // namespace crosscam::cuda
