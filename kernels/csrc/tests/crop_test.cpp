#include "crop.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"

namespace {

using crosscam::CropBox;
using crosscam::CropProblem;
using crosscam::ImageView;

/// Weight of input sample `i` in output `o`, from the definition of the filter; not normalised.
double triangle(int64_t in, int64_t out, int64_t o, int64_t i) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double center = (static_cast<double>(o) + 0.5) * scale;
  const double distance = std::abs(static_cast<double>(i) + 0.5 - center) / std::max(scale, 1.0);
  return std::max(0.0, 1.0 - distance);
}

double expected(const ImageView& image, const CropBox& box, int64_t height, int64_t width,
                int channel, int64_t y, int64_t x) {
  double sum = 0.0, weights = 0.0;
  for (int64_t v = 0; v < box.y1 - box.y0; ++v) {
    const double wy = triangle(box.y1 - box.y0, height, y, v);
    if (wy == 0.0) continue;
    for (int64_t u = 0; u < box.x1 - box.x0; ++u) {
      const double w = wy * triangle(box.x1 - box.x0, width, x, u);
      sum += w * image.data[(box.y0 + v) * image.stride + (box.x0 + u) * 3 + channel];
      weights += w;
    }
  }
  return sum / weights;
}

void matches_the_definition(int64_t height, int64_t width, uint32_t seed) {
  std::mt19937 random(seed);
  // Exactly as many bytes as the pixels, so that a sanitizer sees any read past the last one.
  std::vector<uint8_t> a(37 * 29 * 3), b(1 * 1 * 3), c(5 * 200 * 3);
  for (auto* pixels : {&a, &b, &c}) {
    for (uint8_t& value : *pixels) value = static_cast<uint8_t>(random());
  }
  const std::vector<ImageView> images = {
      {a.data(), 37, 29, 29 * 3}, {b.data(), 1, 1, 3}, {c.data(), 5, 200, 200 * 3}};
  const std::vector<CropBox> boxes = {
      {0, 0, 0, 29, 37}, {0, 28, 36, 29, 37}, {0, 3, 5, 20, 30},  {1, 0, 0, 1, 1},
      {2, 0, 0, 200, 5}, {2, 197, 4, 200, 5}, {0, 25, 0, 29, 37}, {0, 0, 36, 29, 37},
  };
  const auto count = static_cast<int64_t>(boxes.size());
  // Rows three floats apart and poisoned, to see that nothing else is touched.
  const int64_t row = width + 3, plane = height * row, image = 3 * plane;
  constexpr float kPoison = -777.0f;
  std::vector<float> first;
  for (const auto level : crosscam::simd_levels()) {
    for (const int threads : {1, 3}) {
      std::vector<float> out(static_cast<size_t>(count * image), kPoison);
      CropProblem problem;
      problem.images = &images;
      problem.boxes = &boxes;
      problem.out_height = height;
      problem.out_width = width;
      for (int i = 0; i < 3; ++i) {
        problem.source_channel[i] = 2 - i;
        problem.gain[i] = 0.5f * static_cast<float>(i + 1);
        problem.bias[i] = -3.0f * static_cast<float>(i);
      }
      problem.out = out.data();
      problem.out_image_stride = image;
      problem.out_channel_stride = plane;
      problem.out_row_stride = row;
      problem.threads = threads;
      problem.simd = level;
      crosscam::crop_resize_normalize(problem);
      if (first.empty()) {
        first = out;
        for (int64_t i = 0; i < count * image; ++i) {
          const int64_t n = i / image, x = i % row, y = i / row % height;
          const int channel = static_cast<int>(i / plane % 3);
          if (x >= width) {
            CHECK(out[static_cast<size_t>(i)] == kPoison);
            continue;
          }
          const CropBox& box = boxes[static_cast<size_t>(n)];
          const double pixel = expected(images[static_cast<size_t>(box.image)], box, height, width,
                                        2 - channel, y, x);
          const double want = pixel * 0.5 * (channel + 1) - 3.0 * channel;
          CHECK(std::abs(out[static_cast<size_t>(i)] - want) < 1e-3);
        }
      }
      CHECK(out == first);  // same bits for any level and number of threads
    }
  }
}

/// One pixel of NV12, in 64-bit integers.
uint8_t colour(const ImageView& image, const crosscam::YuvMatrix& m, int64_t y, int64_t x,
               int channel) {
  const uint8_t* const pair = image.chroma + y / 2 * image.chroma_stride + x / 2 * 2;
  const int64_t u = pair[0] - 128, v = pair[1] - 128;
  const int64_t above = image.data[y * image.stride + x] - m.y_low;
  const int64_t light = std::max<int64_t>(above, 0) * m.y_gain;
  const int64_t tint[3] = {m.v_to_red * v, m.u_to_green * u + m.v_to_green * v, m.u_to_blue * u};
  return static_cast<uint8_t>(
      std::clamp<int64_t>((light + tint[channel] + (1 << 19)) >> 20, 0, 255));
}

/// NV12 in letterboxes is the same as its RGB picture in them, in every type of element, and
/// nothing outside the outputs is touched.
template <typename T>
void nv12_is_its_picture(crosscam::CropElement element, int64_t height, int64_t width) {
  std::mt19937 random(7);
  const int64_t rows = 45, columns = 67;
  // Exactly as many bytes as the planes, so that a sanitizer sees any read past the last one.
  std::vector<uint8_t> luma(static_cast<size_t>(rows * columns));
  std::vector<uint8_t> chroma(static_cast<size_t>((rows + 1) / 2 * (columns + 1)));
  for (auto* plane : {&luma, &chroma}) {
    for (uint8_t& value : *plane) value = static_cast<uint8_t>(random());
  }
  const crosscam::YuvMatrix matrix = {16, 1220945, 1673555, -410791, -852460, 2115221};
  const std::vector<ImageView> planes = {
      {luma.data(), rows, columns, columns, chroma.data(), columns + 1}};
  std::vector<uint8_t> rgb(static_cast<size_t>(rows * columns * 3));
  for (int64_t i = 0; i < rows * columns * 3; ++i) {
    rgb[static_cast<size_t>(i)] =
        colour(planes[0], matrix, i / 3 / columns, i / 3 % columns, static_cast<int>(i % 3));
  }
  const std::vector<ImageView> picture = {{rgb.data(), rows, columns, columns * 3}};
  const std::vector<CropBox> boxes = {
      {0, 0, 0, 67, 45}, {0, 66, 44, 67, 45}, {0, 1, 1, 66, 30}, {0, 33, 7, 67, 8}};
  const std::vector<crosscam::CropPlacement> places = {{0, 0, height, width},
                                                       {height - 1, width - 1, 1, 1},
                                                       {height / 2, 0, height - height / 2, width},
                                                       {0, width / 2, height, width - width / 2}};
  const int64_t row = width + 3, plane = height * row, image = 3 * plane;
  std::vector<T> first;
  for (const bool from_nv12 : {false, true}) {
    for (const auto level : crosscam::simd_levels()) {
      std::vector<T> out(static_cast<size_t>(4 * image), T{77});
      CropProblem problem;
      problem.images = from_nv12 ? &planes : &picture;
      problem.format =
          from_nv12 ? crosscam::PixelFormat::kNv12 : crosscam::PixelFormat::kInterleaved;
      problem.yuv = matrix;
      problem.boxes = &boxes;
      problem.placements = &places;
      problem.padding = 114.0f;
      problem.out_height = height;
      problem.out_width = width;
      problem.out = out.data();
      problem.element = element;
      problem.quant_scale = 2.5f;
      problem.zero_point = -100;
      problem.out_image_stride = image;
      problem.out_channel_stride = plane;
      problem.out_row_stride = row;
      problem.threads = 2;
      problem.simd = level;
      crosscam::crop_resize_normalize(problem);
      for (int64_t i = 0; i < 4 * image; ++i) {
        if (i % row >= width) CHECK(out[static_cast<size_t>(i)] == T{77});
      }
      if (first.empty()) first = out;
      CHECK(out == first);
    }
  }
}

}  // namespace

int main() {
  for (const int64_t height : {2, 40}) {
    for (const int64_t width : {3, 33}) {
      nv12_is_its_picture<float>(crosscam::CropElement::kFloat32, height, width);
      nv12_is_its_picture<uint16_t>(crosscam::CropElement::kFloat16, height, width);
      nv12_is_its_picture<int8_t>(crosscam::CropElement::kInt8, height, width);
    }
  }
  uint32_t seed = 0;
  for (const int64_t height : {1, 3, 37, 64}) {
    for (const int64_t width : {1, 4, 29, 33}) matches_the_definition(height, width, ++seed);
  }
  matches_the_definition(300, 150, 99);  // enough pixels for several threads and bands
  return 0;
}
