#pragma once

#include <cstdint>
#include <vector>

#include "cpu_features.h"
#include "simd_kernels.h"

namespace crosscam {

/// What the bytes of an image are.
enum class PixelFormat {
  kInterleaved,  ///< three bytes per pixel
  kNv12,         ///< a plane of luma, and U, V in turn for each two by two pixels
};

/// An image of 8-bit pixels. Chroma belongs to NV12: (height + 1) / 2 rows of (width + 1) / 2
/// pairs.
struct ImageView {
  const uint8_t* data = nullptr;
  int64_t height = 0;
  int64_t width = 0;
  int64_t stride = 0;  ///< bytes between rows
  const uint8_t* chroma = nullptr;
  int64_t chroma_stride = 0;  ///< bytes between rows of chroma
};

/// Part of one image, in whole pixels; the end is exclusive. Must lie inside and not be empty.
struct CropBox {
  int64_t image = 0;
  int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

/// Part of one output that its crop fills; the rest is padding. Must lie inside and not be empty.
struct CropPlacement {
  int64_t top = 0, left = 0, height = 0, width = 0;
};

/// Arguments of `crop_resize_normalize`. Strides of the output are in elements; its last axis is
/// dense.
struct CropProblem {
  const std::vector<ImageView>* images = nullptr;
  const std::vector<CropBox>* boxes = nullptr;
  const std::vector<CropPlacement>* placements = nullptr;  ///< one per box; null: the whole output
  PixelFormat format = PixelFormat::kInterleaved;
  YuvMatrix yuv = {};
  int64_t out_height = 0;
  int64_t out_width = 0;
  int source_channel[3] = {0, 1, 2};  ///< byte of the pixel that each output channel comes from;
                                      ///< of NV12: 0 red, 1 green, 2 blue
  float gain[3] = {1, 1, 1};          ///< out = gain * pixel + bias, per output channel
  float bias[3] = {0, 0, 0};
  float padding = 0;    ///< pixel value around a placement, normalised like the others
  void* out = nullptr;  ///< (N, 3, out_height, out_width)
  CropElement element = CropElement::kFloat32;
  float quant_scale = 1;  ///< of kInt8
  int zero_point = 0;     ///< of kInt8, -128 .. 127
  int64_t out_image_stride = 0;
  int64_t out_channel_stride = 0;
  int64_t out_row_stride = 0;
  int threads = 0;  ///< at most this many workers; 0 means one per processor
  SimdLevel simd = SimdLevel::kScalar;
};

/// Crops, resizes with the antialiased triangle filter (Pillow's BILINEAR) and normalises.
///
/// The filter is applied in float32 without rounding between its two passes; the result does not
/// depend on the number of threads nor on the instruction set. NV12 becomes 8-bit RGB first, as a
/// decoder would make it, each pixel with the chroma of its two by two block.
void crop_resize_normalize(const CropProblem& problem);

}  // namespace crosscam
