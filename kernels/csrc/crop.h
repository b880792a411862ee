#pragma once

#include <cstdint>
#include <vector>

#include "cpu_features.h"

namespace crosscam {

/// An image of interleaved 8-bit pixels with three channels.
struct ImageView {
  const uint8_t* data = nullptr;
  int64_t height = 0;
  int64_t width = 0;
  int64_t stride = 0;  ///< bytes between rows
};

/// Part of one image, in whole pixels; the end is exclusive. Must lie inside and not be empty.
struct CropBox {
  int64_t image = 0;
  int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

/// Arguments of `crop_resize_normalize`. Strides of the output are in floats; its last axis is
/// dense.
struct CropProblem {
  const std::vector<ImageView>* images = nullptr;
  const std::vector<CropBox>* boxes = nullptr;
  int64_t out_height = 0;
  int64_t out_width = 0;
  int source_channel[3] = {0, 1, 2};  ///< byte of the pixel that each output channel comes from
  float gain[3] = {1, 1, 1};          ///< out = gain * pixel + bias, per output channel
  float bias[3] = {0, 0, 0};
  float* out = nullptr;  ///< (N, 3, out_height, out_width)
  int64_t out_image_stride = 0;
  int64_t out_channel_stride = 0;
  int64_t out_row_stride = 0;
  int threads = 0;  ///< at most this many workers; 0 means one per processor
  SimdLevel simd = SimdLevel::kScalar;
};

/// Crops, resizes with the antialiased triangle filter (Pillow's BILINEAR) and normalises.
///
/// The filter is applied in float32 without rounding between its two passes; the result does not
/// depend on the number of threads nor on the instruction set.
void crop_resize_normalize(const CropProblem& problem);

}  // namespace crosscam
