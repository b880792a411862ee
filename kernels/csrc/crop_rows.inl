// The resampler of crop_resize_normalize, written once over the vector type V of the including
// file.
//
// A vector is kRows blocks of four floats. The vertical pass comes first because it reads source
// rows as they lie in memory; it makes kRows output rows at a time and leaves them as
// [pixel][row][channel], so that the horizontal pass needs no gather: one vector is one source
// pixel of all the rows. The last step turns four output pixels into planes and normalises them.

namespace crosscam::CROSSCAM_ISA {

extern const CropKernel crop;

namespace {

constexpr int kRows = kLanes / 4;    // output rows made together
constexpr int kPixels = kLanes / 4;  // source pixels of one load

/// Vertical pass of `kRows` output rows over one group of `kPixels` source pixels.
///
/// weight is (source rows, kRows); rows that an output row does not use have weight zero.
template <bool kCopy>
inline void vertical(const uint8_t* source, int64_t stride, int64_t readable, int rows,
                     const float* weight, float* out) {
  V sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = zero();
  for (int y = 0; y < rows; ++y) {
    const uint8_t* pixels = source + y * stride;
    uint8_t copy[kPixelBytes] = {};
    if constexpr (kCopy) {  // a full load would read past the end of the image row
      for (int64_t i = 0; i < readable; ++i) copy[i] = pixels[i];
      pixels = copy;
    }
    const V value = load_pixels(pixels);
    for (int r = 0; r < kRows; ++r) sum[r] = fma(broadcast(weight[y * kRows + r]), value, sum[r]);
  }
  transpose_blocks(sum);
  for (int i = 0; i < kPixels; ++i) store(out + i * kLanes, sum[i]);
}

/// Horizontal pass, normalisation and store of four output pixels of `rows` <= kRows rows.
inline void horizontal(const CropPlan& plan, const float* pixels, int x, int columns, int y,
                       int rows) {
  V value[4];
  for (int i = 0; i < 4; ++i) {
    const int column = x + (i < columns ? i : 0);
    const float* weight = plan.x.weight + static_cast<int64_t>(column) * plan.x.taps;
    const float* from = pixels + static_cast<int64_t>(plan.x.start[column]) * kLanes;
    value[i] = zero();
    for (int t = 0; t < plan.x.count[column]; ++t) {
      value[i] = fma(broadcast(weight[t]), load(from + t * kLanes), value[i]);
    }
  }
  transpose_lanes(value);
  for (int channel = 0; channel < 3; ++channel) {
    float plane[kLanes];
    store(plane, fma(value[plan.source_channel[channel]], broadcast(plan.gain[channel]),
                     broadcast(plan.bias[channel])));
    float* out = plan.out + channel * plan.out_channel_stride + y * plan.out_row_stride + x;
    for (int r = 0; r < rows; ++r, out += plan.out_row_stride) {
      if (columns == 4) {
        __builtin_memcpy(out, plane + r * 4, 4 * sizeof(float));
      } else {
        for (int i = 0; i < columns; ++i) out[i] = plane[r * 4 + i];
      }
    }
  }
}

/// Weights of the source rows [first, first + rows) for output rows y .. y + kRows - 1.
inline void gather_weights(const ResizeAxis& axis, int y, int used, int first, int rows,
                           float* weight) {
  for (int i = 0; i < rows * kRows; ++i) weight[i] = 0.0f;
  for (int r = 0; r < used; ++r) {
    const float* from = axis.weight + static_cast<int64_t>(y + r) * axis.taps;
    float* to = weight + static_cast<int64_t>(axis.start[y + r] - first) * kRows + r;
    for (int t = 0; t < axis.count[y + r]; ++t) to[t * kRows] = from[t];
  }
}

void run(const CropPlan& plan, int row_begin, int row_end, float* scratch) {
  const int groups = (plan.source_width + kPixels - 1) / kPixels;
  float* weight = scratch + static_cast<int64_t>(groups) * kPixels * kLanes;
  for (int y = row_begin; y < row_end; y += kRows) {
    const int used = row_end - y < kRows ? row_end - y : kRows;
    const int first = plan.y.start[y];
    const int last = plan.y.start[y + used - 1] + plan.y.count[y + used - 1];
    gather_weights(plan.y, y, used, first, last - first, weight);
    const uint8_t* source = plan.source + first * plan.source_stride;
    for (int group = 0; group < groups; ++group) {
      const int64_t offset = static_cast<int64_t>(group) * kPixels * 3;
      const int64_t readable = plan.readable - offset;
      float* out = scratch + static_cast<int64_t>(group) * kPixels * kLanes;
      if (readable >= kPixelBytes) {
        vertical<false>(source + offset, plan.source_stride, readable, last - first, weight, out);
      } else {
        vertical<true>(source + offset, plan.source_stride, readable, last - first, weight, out);
      }
    }
    for (int x = 0; x < plan.out_width; x += 4) {
      const int columns = plan.out_width - x < 4 ? plan.out_width - x : 4;
      horizontal(plan, scratch, x, columns, y, used);
    }
  }
}

}  // namespace

constinit const CropKernel crop = {kRows, kLanes, &run};

}  // namespace crosscam::CROSSCAM_ISA
