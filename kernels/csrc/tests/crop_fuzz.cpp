// Random crops, compared with the definition of the filter in double.
#include <algorithm>
#include <limits>

#include "crop.h"
#include "fuzz.h"

namespace {

using crosscam::CropBox;
using crosscam::CropElement;
using crosscam::CropPlacement;
using crosscam::CropProblem;
using crosscam::ImageView;
using crosscam::PixelFormat;
using crosscam::fuzz::fail;
using crosscam::fuzz::Source;

/// Vectors of exactly the needed size, so that a sanitizer sees every overrun.
struct Problem {
  std::vector<std::vector<uint8_t>> planes;
  std::vector<ImageView> images;
  std::vector<CropBox> boxes;
  std::vector<CropPlacement> placements;
  CropProblem p;
};

/// Rows of `bytes` bytes, `stride` apart; the last one ends where the memory ends.
const uint8_t* plane(Source& random, Problem& problem, int64_t rows, int64_t bytes,
                     int64_t stride) {
  std::vector<uint8_t> out(static_cast<size_t>((rows - 1) * stride + bytes));
  for (uint8_t& value : out) value = static_cast<uint8_t>(random.below(256));
  problem.planes.push_back(std::move(out));
  return problem.planes.back().data();
}

void draw_image(Source& random, Problem& problem) {
  ImageView view;
  view.height = random.one_in(4) ? 1 : random.between(1, 70);
  view.width = random.one_in(4) ? random.between(1, 3) : random.between(1, 90);
  const bool nv12 = problem.p.format == PixelFormat::kNv12;
  const int64_t bytes = view.width * (nv12 ? 1 : 3);
  view.stride = bytes + random.below(5);
  view.data = plane(random, problem, view.height, bytes, view.stride);
  if (nv12) {
    const int64_t pairs = (view.width + 1) / 2 * 2;
    view.chroma_stride = pairs + random.below(5);
    view.chroma = plane(random, problem, (view.height + 1) / 2, pairs, view.chroma_stride);
  }
  problem.images.push_back(view);
}

/// Part of [0, size) that is not empty, often one that touches an end.
void span(Source& random, int64_t size, int64_t* begin, int64_t* end) {
  *begin = random.one_in(3) ? 0 : random.below(size);
  *end = random.one_in(3) ? size : random.between(*begin + 1, size);
}

void draw(Source& random, Problem& problem) {
  CropProblem& p = problem.p;
  p.format = random.one_in(2) ? PixelFormat::kNv12 : PixelFormat::kInterleaved;
  const int64_t images = random.between(1, 3), crops = random.below(7);
  problem.planes.reserve(static_cast<size_t>(2 * images));
  for (int64_t i = 0; i < images; ++i) draw_image(random, problem);
  p.out_height = random.one_in(4) ? random.between(1, 3) : random.between(1, 60);
  p.out_width = random.one_in(4) ? random.between(1, 3) : random.between(1, 60);
  const bool placed = random.one_in(2);
  for (int64_t n = 0; n < crops; ++n) {
    CropBox box;
    box.image = random.below(images);
    const ImageView& image = problem.images[static_cast<size_t>(box.image)];
    span(random, image.width, &box.x0, &box.x1);
    span(random, image.height, &box.y0, &box.y1);
    problem.boxes.push_back(box);
    if (!placed) continue;
    CropPlacement place;
    int64_t bottom = 0, right = 0;
    span(random, p.out_height, &place.top, &bottom);
    span(random, p.out_width, &place.left, &right);
    place.height = bottom - place.top;
    place.width = right - place.left;
    problem.placements.push_back(place);
  }
  p.images = &problem.images;
  p.boxes = &problem.boxes;
  p.placements = placed ? &problem.placements : nullptr;
  p.yuv = random.one_in(2) ? crosscam::YuvMatrix{16, 1220945, 1673555, -410791, -852460, 2115221}
                           : crosscam::YuvMatrix{0, 1048576, 1651297, -196423, -490864, 1945738};
  const bool turned = random.one_in(2);
  for (int c = 0; c < 3; ++c) {
    p.source_channel[c] = turned ? 2 - c : c;
    p.gain[c] = static_cast<float>(0.02 + 0.01 * static_cast<double>(random.below(5)));
    p.bias[c] = static_cast<float>(random.below(7) - 3);
  }
  p.padding = 114.0f;
  p.element = static_cast<CropElement>(random.below(3));
  p.quant_scale = 0.0625f;
  p.zero_point = static_cast<int>(random.between(-128, 127));
  p.out_row_stride = p.out_width + random.below(3);
  p.out_channel_stride = p.out_height * p.out_row_stride + random.below(3);
  p.out_image_stride = 3 * p.out_channel_stride + random.below(3);
  p.threads = static_cast<int>(random.between(1, 3));
  p.simd = random.one_of(crosscam::simd_levels());
}

/// One colour of one pixel, 0 to 255; NV12 as 8-bit RGB.
double pixel(const CropProblem& p, const ImageView& image, int64_t y, int64_t x, int channel) {
  if (p.format == PixelFormat::kInterleaved) return image.data[y * image.stride + x * 3 + channel];
  const uint8_t* const pair = image.chroma + y / 2 * image.chroma_stride + x / 2 * 2;
  const int64_t u = pair[0] - 128, v = pair[1] - 128;
  const int64_t above = image.data[y * image.stride + x] - p.yuv.y_low;
  const int64_t tint[3] = {p.yuv.v_to_red * v, p.yuv.u_to_green * u + p.yuv.v_to_green * v,
                           p.yuv.u_to_blue * u};
  const int64_t exact = std::max<int64_t>(above, 0) * p.yuv.y_gain + tint[channel];
  return static_cast<double>(std::clamp<int64_t>((exact + (1 << 19)) >> 20, 0, 255));
}

/// Weights of the `in` samples in output `o` of `out`, from the definition of the filter.
std::vector<double> triangle(int64_t in, int64_t out, int64_t o) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double center = (static_cast<double>(o) + 0.5) * scale;
  std::vector<double> weights;
  double total = 0.0;
  for (int64_t i = 0; i < in; ++i) {
    const double distance = std::abs(static_cast<double>(i) + 0.5 - center) / std::max(scale, 1.0);
    weights.push_back(std::max(0.0, 1.0 - distance));
    total += weights.back();
  }
  for (double& weight : weights) weight /= total;
  return weights;
}

double half(uint16_t bits) {
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

/// Whether a stored element is what `want` is rounded to; `slack` is the error of float32.
bool near(const CropProblem& p, const void* out, size_t at, double want) {
  constexpr double kSlack = 2e-4;
  switch (p.element) {
    case CropElement::kFloat32:
      return std::abs(static_cast<const float*>(out)[at] - want) <= kSlack;
    case CropElement::kFloat16:
      return std::abs(half(static_cast<const uint16_t*>(out)[at]) - want) <=
             kSlack + std::abs(want) * 0x1p-11;
    case CropElement::kInt8: {
      const double exact = want / p.quant_scale + p.zero_point;
      return std::abs(static_cast<const int8_t*>(out)[at] - std::clamp(exact, -128.0, 127.0)) <=
             0.5 + kSlack / p.quant_scale;
    }
  }
  return false;
}

bool check_crop(const Problem& problem, const void* out, size_t n) {
  const CropProblem& p = problem.p;
  const CropBox& box = problem.boxes[n];
  const ImageView& image = problem.images[static_cast<size_t>(box.image)];
  const CropPlacement place = p.placements == nullptr
                                  ? CropPlacement{0, 0, p.out_height, p.out_width}
                                  : problem.placements[n];
  std::vector<std::vector<double>> across;
  for (int64_t x = 0; x < place.width; ++x) {
    across.push_back(triangle(box.x1 - box.x0, place.width, x));
  }
  for (int64_t y = 0; y < p.out_height; ++y) {
    const bool in_rows = y >= place.top && y < place.top + place.height;
    const auto down = triangle(box.y1 - box.y0, place.height, in_rows ? y - place.top : 0);
    for (int c = 0; c < 3; ++c) {
      std::vector<double> row(static_cast<size_t>(box.x1 - box.x0));  // of the box, resized down
      for (size_t v = 0; v < down.size(); ++v) {
        for (size_t u = 0; down[v] != 0.0 && u < row.size(); ++u) {
          row[u] += down[v] * pixel(p, image, box.y0 + static_cast<int64_t>(v),
                                    box.x0 + static_cast<int64_t>(u), p.source_channel[c]);
        }
      }
      for (int64_t x = 0; x < p.out_width; ++x) {
        double value = p.padding;
        if (in_rows && x >= place.left && x < place.left + place.width) {
          const auto& weights = across[static_cast<size_t>(x - place.left)];
          value = 0.0;
          for (size_t u = 0; u < row.size(); ++u) value += weights[u] * row[u];
        }
        const auto at = static_cast<size_t>(static_cast<int64_t>(n) * p.out_image_stride +
                                            c * p.out_channel_stride + y * p.out_row_stride + x);
        if (!near(p, out, at, value * p.gain[c] + p.bias[c])) {
          std::fprintf(stderr, "channel %d, column %lld: ", c, static_cast<long long>(x));
          return fail("wrong pixel", static_cast<int64_t>(n), y);
        }
      }
    }
  }
  return true;
}

/// Whether nothing but the pixels of the outputs was written.
template <typename T>
bool gaps_untouched(const CropProblem& p, const std::vector<T>& out, T poison) {
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t inside = static_cast<int64_t>(i) % p.out_image_stride;
    const int64_t c = std::min<int64_t>(2, inside / p.out_channel_stride);
    const int64_t rest = inside - c * p.out_channel_stride;
    const bool pixel =
        rest / p.out_row_stride < p.out_height && rest % p.out_row_stride < p.out_width;
    if (!pixel && out[i] != poison) return fail("written between rows", static_cast<int64_t>(i), 0);
  }
  return true;
}

template <typename T>
bool run(Problem& problem, T poison) {
  CropProblem& p = problem.p;
  const auto crops = static_cast<int64_t>(problem.boxes.size());
  const int64_t last =
      2 * p.out_channel_stride + (p.out_height - 1) * p.out_row_stride + p.out_width;
  const int64_t size = crops == 0 ? 0 : (crops - 1) * p.out_image_stride + last;
  std::vector<T> out(static_cast<size_t>(size), poison);
  out.reserve(1);
  p.out = out.data();
  crosscam::crop_resize_normalize(p);
  for (size_t n = 0; n < problem.boxes.size(); ++n) {
    if (!check_crop(problem, p.out, n)) return false;
  }
  return gaps_untouched(p, out, poison);
}

}  // namespace

bool fuzz_one(Source& random) {
  Problem problem;
  draw(random, problem);
  const CropProblem& p = problem.p;
  const bool right = p.element == CropElement::kFloat32   ? run<float>(problem, -777.0f)
                     : p.element == CropElement::kFloat16 ? run<uint16_t>(problem, 0x7BFF)
                                                          : run<int8_t>(problem, 77);
  if (right) return true;
  std::fprintf(stderr, "%zu crops to %lld x %lld, format=%d element=%d placed=%d level=%s\n",
               problem.boxes.size(), static_cast<long long>(p.out_height),
               static_cast<long long>(p.out_width), static_cast<int>(p.format),
               static_cast<int>(p.element), p.placements != nullptr ? 1 : 0,
               crosscam::simd_name(p.simd));
  return false;
}
