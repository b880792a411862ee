#pragma once

// What each instruction set provides. Only plain pointers cross this line: the translation units
// behind it are compiled with their own flags, so they must not instantiate inline code
// (std::vector and the like) that the linker could then pick for processors that lack the
// instructions.

#include <cstdint>

#include "cpu_features.h"

namespace crosscam {

/// Largest number of queries in a block: one bit each in a 64-bit mask.
inline constexpr int kMaxQueryBlock = 64;
/// Largest number of gallery rows of one tile.
inline constexpr int kMaxTileRows = 12;

/// One tile of similarities: `rows` gallery rows against one block of queries.
///
/// similarity(row, query) is `s = fma(row[d], query[d], s)` for d = 0, 1, .. D - 1, starting from
/// zero. Neither the place in a tile nor the instruction set changes a bit of it.
struct TopkTile {
  const float* const* rows;  ///< the rows of this tile; missing ones repeat a row that exists
  const float* const* next;  ///< rows of the tile after it, prefetched meanwhile
  const float* queries;      ///< packed block (D, block): query fastest
  int64_t dim;               ///< D
  const float* threshold;    ///< (block,) a similarity must be greater to count as a hit
  float* similarity;         ///< out (rows, block)
  uint64_t* hits;            ///< out (rows,): bit q set when similarity(row, q) > threshold[q]
};

/// Kernels of `similarity_topk` for one instruction set.
struct TopkKernels {
  int lanes;         ///< queries per vector register
  int max_vectors;   ///< registers per block: a block has up to lanes * max_vectors queries
  int tile_rows[4];  ///< gallery rows of a tile for 1 .. max_vectors registers
  void (*tile[4])(const TopkTile&);  ///< kernel for 1 .. max_vectors registers
  /// Bit q set when first[q] <= time <= last[q]; `count` is a multiple of `lanes`.
  uint64_t (*time_mask)(int64_t time, const int64_t* first, const int64_t* last, int count);
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
};

/// Kernel of `normalise_quantise` for one instruction set.
struct NormaliseKernel {
  /// Writes the `dim` codes of one row and returns its scale.
  float (*row)(const float* x, int64_t dim, int8_t* codes);
};

/// Kernels of an instruction set that `simd_levels()` lists.
const TopkKernels& topk_kernels(SimdLevel level);
const CropKernel& crop_kernel(SimdLevel level);
const DenseKernels& dense_kernels(SimdLevel level);
const NormaliseKernel& normalise_kernel(SimdLevel level);

}  // namespace crosscam
