#pragma once

// What each instruction set provides. Only plain pointers cross this line: the translation units
// behind it are compiled with their own flags, so they must not instantiate inline code
// (std::vector and the like) that the linker could then pick for processors that lack the
// instructions.

#include <cstdint>

#include "cpu_features.h"
#include "element.h"

namespace crosscam {

/// Largest number of queries in a block: one bit each in a 64-bit mask.
inline constexpr int kMaxQueryBlock = 64;
/// Largest number of gallery rows of one tile.
inline constexpr int kMaxTileRows = 12;

/// What the 32-bit words of a row hold, which decides how a pair of rows is compared.
///
/// kFloatChain and kInt8Quad give the same bits whatever the tile and the instruction set. The
/// other two sum in an order of their own: their results are bounded, not defined.
enum class TopkWord {
  kFloatChain,  ///< one float: `s = fma(row[d], query[d], s)` for d = 0, 1, .. D - 1, from zero
  kFloatLanes,  ///< one float: sums over lanes of features, added at the end; few queries
  kBf16Pair,    ///< two bfloat16, multiplied and summed into fp32
  kInt8Quad,    ///< four int8, summed exactly, then `(float(sum) * query_scale) * row_scale`
};

/// One tile of similarities: some gallery rows against one block of queries.
struct TopkTile {
  const void* const* rows;  ///< the rows of this tile; missing ones repeat a row that exists
  const void* const* next;  ///< rows of the tile after it, prefetched meanwhile
  const void* queries;  ///< packed block (words, block), query fastest; kFloatLanes: (block, words)
  int64_t words;        ///< words per row; kFloatLanes: features
  const float* threshold;    ///< (block,) a similarity must be greater to count as a hit
  const int32_t* query_sum;  ///< (block,) kInt8Quad: sum of the int8 values of each query
  const float* query_scale;  ///< (block,) kInt8Quad
  const float* row_scale;    ///< (rows,) kInt8Quad; kFloatLanes: null unless rows are int8
  float limit;               ///< kFloatLanes: largest squared norm of a row
  bool* beyond;              ///< kFloatLanes: set when a row is longer, or not finite
  float* similarity;         ///< out (rows, block)
  uint64_t* hits;            ///< out (rows,): bit q set when similarity(row, q) > threshold[q]
};

/// Kernels of `similarity_topk` for one instruction set and one kind of word.
struct TopkKernels {
  int lanes;         ///< queries per vector register
  int max_vectors;   ///< registers per block: a block has up to lanes * max_vectors queries
  int tile_rows[4];  ///< gallery rows of a tile for 1 .. max_vectors registers
  void (*tile[4])(const TopkTile&);  ///< kernel for 1 .. max_vectors registers
  /// Bit q set when first[q] <= time <= last[q]; `count` is a multiple of `lanes`.
  uint64_t (*time_mask)(int64_t time, const int64_t* first, const int64_t* last, int count);
};

/// What happens to a single row of n elements before or after the tiles. `norm` is the square of
/// the Euclidean norm, summed in fp32 in any order (NaN and infinity stay visible).
struct RowKernels {
  void (*widen_bf16)(const uint16_t* row, int64_t n, float* out);
  void (*widen_fp16)(const uint16_t* row, int64_t n, float* out);
  /// Inner product of two rows, summed in fp32 in any order.
  float (*dot)(const float* a, const float* b, int64_t n);
  float (*norm_int8)(const int8_t* row, int64_t n);  ///< exact but for the last rounding
  /// Up to kChainRows similarities of one query at a time, each one in the order of kFloatChain.
  void (*chain)(const float* const* rows, const float* query, int64_t dim, float* out);
};
/// Rows of one call of RowKernels::chain; missing ones repeat a row that exists.
inline constexpr int kChainRows = 8;

/// Rounding of a row to bfloat16 where a processor multiplies those; each returns the norm of the
/// row as it was. `out` holds n values rounded up to an even number, the last one zero.
struct NarrowKernels {
  float (*fp32)(const float* row, int64_t n, uint16_t* out);
  float (*fp16)(const uint16_t* row, int64_t n, uint16_t* out);
  float (*bf16)(const uint16_t* row, int64_t n);  ///< the norm alone
};

/// Filter of one axis: output i = sum over t of weight[i * taps + t] * input[start[i] + t].
struct ResizeAxis {
  const int32_t* start;
  const int32_t* count;  ///< taps in use for output i; the rest up to `taps` is zero
  const float* weight;
  int taps;
};

/// Type of the elements that crops are written as.
enum class CropElement {
  kFloat32,
  kFloat16,  ///< rounded to nearest, ties to even
  kInt8,     ///< value / quant_scale rounded likewise, plus zero_point, saturated
};

/// Colours of NV12 in fixed point: 20 bits after the point.
struct YuvMatrix {
  int32_t y_low;     ///< luma of black: subtracted, not below zero
  int32_t y_gain;    ///< factor of the luma
  int32_t v_to_red;  ///< factors of the chroma, which is 128 when there is none
  int32_t u_to_green, v_to_green;
  int32_t u_to_blue;
};

/// One crop to resize. Strides of `source` are in bytes, those of `out` in elements.
struct CropPlan {
  const uint8_t* source;  ///< first pixel of the box, pixel_bytes interleaved bytes per pixel
  int64_t source_stride;
  int pixel_bytes;   ///< 3, or 4 of which the last is ignored
  int source_width;  ///< width of the box in pixels
  int64_t readable;  ///< bytes from `source` to the end of its image row
  ResizeAxis x;
  ResizeAxis y;
  int out_width;
  void* out;
  CropElement element;
  float quant_scale;
  int32_t zero_point;
  int64_t out_channel_stride;
  int64_t out_row_stride;
  int source_channel[3];  ///< for each output channel, the byte of the pixel it comes from
  float gain[3];          ///< value = gain * pixel + bias
  float bias[3];
};

/// Kernel of `crop_resize_normalize` for one instruction set.
struct CropKernel {
  int rows;  ///< output rows worked on together
  int lanes;
  /// Makes output rows [row_begin, row_end). `scratch` holds
  /// crop_scratch_floats(kernel, plan) floats, aligned to 64 bytes.
  void (*run)(const CropPlan& plan, int row_begin, int row_end, float* scratch);
  /// Pixels [begin, end) of one row of NV12 as R, G, B, 0. `luma` and `chroma` start at pixel 0.
  void (*nv12_row)(const uint8_t* luma, const uint8_t* chroma, int64_t begin, int64_t end,
                   const YuvMatrix& matrix, uint8_t* rgb0);
  /// One value as an element of the output, with the rounding of `run`.
  void (*convert)(const CropPlan& plan, float value, void* element);
};

/// One tile of `dense_accumulate`: out_r += sum over c of weight(r, c) y_c, c in ascending order.
struct DenseTile {
  const float* weights;  ///< weight(r, c) = weights[r * row_stride + c * column_stride]
  int64_t row_stride;
  int64_t column_stride;
  const float* y;  ///< the band of row c: y + c * y_stride
  int64_t count;   ///< number of rows of y
  int64_t y_stride;
  float* out;
  int64_t out_stride;
  int width;  ///< floats of the band; only the narrow kernels look at it
};

/// Kernels of `dense_accumulate` for one instruction set. [0] makes one row, [1] makes `rows`.
struct DenseKernels {
  int lanes;
  int width;  ///< floats of a band of the wide kernels
  int rows;
  void (*wide[2])(const DenseTile&);
  void (*narrow[2])(const DenseTile&);  ///< up to `lanes` floats
  /// `vectors` registers of square norms of a packed block (dim, vectors * lanes).
  void (*square_norms)(const float* packed, int vectors, int64_t dim, float* out);
};

/// The hardest positive and negative found so far for a number of anchors, as arrays of columns.
/// Empty: index -1, positive value -inf, negative value +inf.
struct HardestColumns {
  float* positive_value;
  int32_t* positive_index;
  float* negative_value;
  int32_t* negative_index;
};

/// One tile of `batch_hard`: rows are anchors, columns are candidates.
///
/// The value of a pair is max(0, (a_r + b_c) - 2 p) of square norms a, b, or
/// max(0, 1 - p (a_r b_c)) of inverse norms (`cosine`). A value that is not finite does not count.
/// All column arrays are padded to whole registers; the padding of column_norm must be infinite.
struct HardestTile {
  const float* products;  ///< p: (rows, stride)
  int64_t stride;
  int64_t rows;
  int64_t columns;
  int32_t first_row;  ///< index of the first anchor
  int32_t first_column;
  bool cosine;
  const float* row_norm;
  const float* column_norm;
  const int32_t* row_label;
  const int32_t* column_label;
  const int32_t* row_camera;
  const int32_t* column_camera;
  const int32_t* row_self;  ///< candidate that is the anchor itself, or -1
  /// All bits set or none: whether a positive may come from the same camera, from another;
  /// negatives likewise.
  int32_t positive_same, positive_cross, negative_same, negative_cross;
  HardestColumns row_best;  ///< of the rows; all candidates seen before have a smaller index
  /// Null, or of the columns: pairs then count for both sides (rows are candidates of the columns).
  const HardestColumns* column_best;
};

/// Kernel of `batch_hard` for one instruction set.
struct HardestKernel {
  void (*select)(const HardestTile& tile);
};

/// Kernels of `update_memory` for one instruction set: the same bits from each.
struct MemoryRowKernels {
  /// Inner product in float64.
  double (*product)(const float* a, const float* b, int64_t dim);
  /// row = keep * row + take * x, each product rounded; returns the squared norm in float64.
  double (*blend)(float* row, const float* x, int64_t dim, float keep, float take);
  void (*divide)(float* row, int64_t dim, float divisor);
};

/// Kernel of `normalise_quantise` for one instruction set.
struct NormaliseKernel {
  /// Writes the `dim` codes of one row and returns its scale.
  float (*row)(const float* x, int64_t dim, int8_t* codes);
};

/// Kernels of an instruction set that `simd_levels()` lists.
///
/// @param dot Whether dot-product instructions beyond the level (AVX512-BF16, VNNI, ASIMDDP) may be
///     used where the processor has them.
/// @param element Of the gallery's rows; kFloatLanes reads them as they lie in memory.
/// @return Null for kBf16Pair where there is no instruction for it; never null otherwise.
const TopkKernels* topk_kernels(SimdLevel level, TopkWord word, Element element, bool dot);
/// Those of TopkWord::kFloatChain.
const TopkKernels& topk_kernels(SimdLevel level);
const RowKernels& row_kernels(SimdLevel level);
/// Only where topk_kernels(level, TopkWord::kBf16Pair, dot) is not null.
const NarrowKernels& narrow_kernels(SimdLevel level);
const CropKernel& crop_kernel(SimdLevel level);
const DenseKernels& dense_kernels(SimdLevel level);
const HardestKernel& hardest_kernel(SimdLevel level);
const MemoryRowKernels& memory_row_kernels(SimdLevel level);
const NormaliseKernel& normalise_kernel(SimdLevel level);

}  // namespace crosscam
