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
template <int kBytes, bool kCopy>
inline void vertical(const uint8_t* source, int64_t stride, int64_t readable, int rows,
                     const float* weight, float* out) {
  V sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = zero();
  for (int y = 0; y < rows; ++y) {
    const uint8_t* pixels = source + y * stride;
    V value;
    if constexpr (kBytes == 4) {
      value = load_pixels4(pixels);
    } else {
      uint8_t copy[kPixelBytes] = {};
      if constexpr (kCopy) {  // a full load would read past the end of the image row
        for (int64_t i = 0; i < readable; ++i) copy[i] = pixels[i];
        pixels = copy;
      }
      value = load_pixels(pixels);
    }
    for (int r = 0; r < kRows; ++r) sum[r] = fma(broadcast(weight[y * kRows + r]), value, sum[r]);
  }
  transpose_blocks(sum);
  for (int i = 0; i < kPixels; ++i) store(out + i * kLanes, sum[i]);
}

inline void store_as(const CropPlan&, V value, float* out) { store(out, value); }
inline void store_as(const CropPlan&, V value, uint16_t* out) { store_half(out, value); }
inline void store_as(const CropPlan& plan, V value, int8_t* out) {
  store_int8(out, value, plan.quant_scale, plan.zero_point);
}

/// Horizontal pass, normalisation and store of four output pixels of `rows` <= kRows rows.
template <typename T>
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
    T plane[kLanes];
    store_as(plan,
             fma(value[plan.source_channel[channel]], broadcast(plan.gain[channel]),
                 broadcast(plan.bias[channel])),
             plane);
    T* out = static_cast<T*>(plan.out) + channel * plan.out_channel_stride +
             y * plan.out_row_stride + x;
    for (int r = 0; r < rows; ++r, out += plan.out_row_stride) {
      if (columns == 4) {
        __builtin_memcpy(out, plane + r * 4, 4 * sizeof(T));
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

template <typename T, int kBytes>
void run_as(const CropPlan& plan, int row_begin, int row_end, float* scratch) {
  const int groups = (plan.source_width + kPixels - 1) / kPixels;
  float* weight = scratch + static_cast<int64_t>(groups) * kPixels * kLanes;
  for (int y = row_begin; y < row_end; y += kRows) {
    const int used = row_end - y < kRows ? row_end - y : kRows;
    const int first = plan.y.start[y];
    const int last = plan.y.start[y + used - 1] + plan.y.count[y + used - 1];
    gather_weights(plan.y, y, used, first, last - first, weight);
    const uint8_t* source = plan.source + first * plan.source_stride;
    for (int group = 0; group < groups; ++group) {
      const int64_t offset = static_cast<int64_t>(group) * kPixels * kBytes;
      const int64_t readable = plan.readable - offset;
      float* out = scratch + static_cast<int64_t>(group) * kPixels * kLanes;
      if (kBytes == 4 || readable >= kPixelBytes) {
        vertical<kBytes, false>(source + offset, plan.source_stride, readable, last - first,
                                weight, out);
      } else {
        vertical<kBytes, true>(source + offset, plan.source_stride, readable, last - first,
                               weight, out);
      }
    }
    for (int x = 0; x < plan.out_width; x += 4) {
      const int columns = plan.out_width - x < 4 ? plan.out_width - x : 4;
      horizontal<T>(plan, scratch, x, columns, y, used);
    }
  }
}

template <typename T>
void run_from(const CropPlan& plan, int row_begin, int row_end, float* scratch) {
  if (plan.pixel_bytes == 4) {
    run_as<T, 4>(plan, row_begin, row_end, scratch);
  } else {
    run_as<T, 3>(plan, row_begin, row_end, scratch);
  }
}

void run(const CropPlan& plan, int row_begin, int row_end, float* scratch) {
  switch (plan.element) {
    case CropElement::kFloat32:
      return run_from<float>(plan, row_begin, row_end, scratch);
    case CropElement::kFloat16:
      return run_from<uint16_t>(plan, row_begin, row_end, scratch);
    case CropElement::kInt8:
      return run_from<int8_t>(plan, row_begin, row_end, scratch);
  }
}

template <typename T>
void convert_as(const CropPlan& plan, float value, void* element) {
  T lanes[kLanes];
  store_as(plan, broadcast(value), lanes);
  __builtin_memcpy(element, lanes, sizeof(T));
}

void convert(const CropPlan& plan, float value, void* element) {
  switch (plan.element) {
    case CropElement::kFloat32:
      return convert_as<float>(plan, value, element);
    case CropElement::kFloat16:
      return convert_as<uint16_t>(plan, value, element);
    case CropElement::kInt8:
      return convert_as<int8_t>(plan, value, element);
  }
}

/// The pixel of luma `y` and of the three chroma terms, as R, G, B, 0 from the lowest byte.
inline uint32_t rgb0(int32_t y, int32_t red, int32_t green, int32_t blue, const YuvMatrix& m) {
  const int32_t above = y - m.y_low;
  const int32_t light = (above > 0 ? above : 0) * m.y_gain + (1 << 19);
  const auto byte = [](int32_t v) {
    v >>= 20;
    v = v < 0 ? 0 : v;
    return static_cast<uint32_t>(v > 255 ? 255 : v);
  };
  return byte(light + red) | byte(light + green) << 8 | byte(light + blue) << 16;
}

/// In steps of a few arrays that the compiler turns into vectors: first what the two pixels of a
/// pair share, then every pixel.
void nv12_row(const uint8_t* luma, const uint8_t* chroma, int64_t begin, int64_t end,
              const YuvMatrix& matrix, uint8_t* out) {
  constexpr int kStep = 64;
  const YuvMatrix m = matrix;  // a copy that no store can change
  int32_t red[kStep], green[kStep], blue[kStep];
  uint32_t pixels[kStep];
  for (int64_t first = begin & ~int64_t{1}; first < end; first += kStep) {
    const int count = static_cast<int>(end - first < kStep ? end - first : kStep);
    const int pairs = (count + 1) / 2;
    const uint8_t* const uv = chroma + first;
    for (int i = 0; i < pairs; ++i) {
      const int32_t u = uv[2 * i] - 128, v = uv[2 * i + 1] - 128;
      red[2 * i] = red[2 * i + 1] = m.v_to_red * v;
      green[2 * i] = green[2 * i + 1] = m.u_to_green * u + m.v_to_green * v;
      blue[2 * i] = blue[2 * i + 1] = m.u_to_blue * u;
    }
    const uint8_t* const y = luma + first;
    for (int i = 0; i < count; ++i) pixels[i] = rgb0(y[i], red[i], green[i], blue[i], m);
    const int skip = first < begin ? 1 : 0;  // the box starts with the second pixel of a pair
    const int64_t bytes = (count - skip) * int64_t{4};
    __builtin_memcpy(out, pixels + skip, static_cast<size_t>(bytes));
    out += bytes;
  }
}

}  // namespace

constinit const CropKernel crop = {kRows, kLanes, &run, &nv12_row, &convert};

}  // namespace crosscam::CROSSCAM_ISA
