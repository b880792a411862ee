#include "crop.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "parallel.h"
#include "resize_filter.h"

namespace crosscam {
namespace {

constexpr int64_t kBandsPerWorker = 4;
constexpr int64_t kBandStep = 16;             // rows; a multiple of what any kernel makes together
constexpr int64_t kPixelsPerThread = 16'384;  // output pixels below which a thread costs more
constexpr int64_t kConvertedRows = 32;        // output rows whose source is RGB at one time
constexpr int64_t kSlack = 64;                // bytes that a vector may read past a row

/// Memory aligned to a cache line that grows and is reused.
template <typename T>
class Scratch {
 public:
  T* get(int64_t elements) {
    const auto wanted = static_cast<size_t>(elements) + kAlign;
    if (storage_.size() < wanted) storage_.resize(wanted);
    const auto address = reinterpret_cast<uintptr_t>(storage_.data()) / sizeof(T);
    return storage_.data() + (kAlign - address % kAlign) % kAlign;
  }

 private:
  static constexpr size_t kAlign = 64 / sizeof(T);
  std::vector<T> storage_;
};

int64_t element_bytes(CropElement element) {
  return element == CropElement::kFloat32 ? 4 : element == CropElement::kFloat16 ? 2 : 1;
}

/// What one worker keeps from task to task.
class Worker {
 public:
  explicit Worker(const CropProblem& problem)
      : problem_(problem), kernel_(crop_kernel(problem.simd)) {}

  /// Writes rows [begin, end) of output n.
  void band(int64_t n, int64_t begin, int64_t end) {
    const CropBox& box = (*problem_.boxes)[static_cast<size_t>(n)];
    CropPlacement place{0, 0, problem_.out_height, problem_.out_width};
    if (problem_.placements) place = (*problem_.placements)[static_cast<size_t>(n)];
    const int64_t bytes = element_bytes(problem_.element);
    auto* const out = static_cast<uint8_t*>(problem_.out) + n * problem_.out_image_stride * bytes;

    CropPlan plan{};
    plan.source_width = static_cast<int>(box.x1 - box.x0);
    x_filter_.assign(box.x1 - box.x0, place.width);
    y_filter_.assign(box.y1 - box.y0, place.height);
    plan.x = x_filter_.view();
    plan.y = y_filter_.view();
    plan.out_width = static_cast<int>(place.width);
    plan.out = out + (place.top * problem_.out_row_stride + place.left) * bytes;
    plan.element = problem_.element;
    plan.quant_scale = problem_.quant_scale;
    plan.zero_point = problem_.zero_point;
    plan.out_channel_stride = problem_.out_channel_stride;
    plan.out_row_stride = problem_.out_row_stride;
    std::copy_n(problem_.source_channel, 3, plan.source_channel);
    std::copy_n(problem_.gain, 3, plan.gain);
    std::copy_n(problem_.bias, 3, plan.bias);

    if (problem_.placements) pad(plan, place, begin, end, out);
    const int first = static_cast<int>(std::max(begin, place.top) - place.top);
    const int last = static_cast<int>(std::min(end, place.top + place.height) - place.top);
    if (first >= last) return;
    const int64_t padded = (plan.source_width + kernel_.rows - 1) / kernel_.rows * kernel_.rows;
    float* const scratch = floats_.get(padded * kernel_.lanes + (box.y1 - box.y0) * kernel_.rows);
    const ImageView& image = (*problem_.images)[static_cast<size_t>(box.image)];
    if (problem_.format == PixelFormat::kInterleaved) {
      plan.source = image.data + box.y0 * image.stride + box.x0 * 3;
      plan.source_stride = image.stride;
      plan.pixel_bytes = 3;
      plan.readable = (image.width - box.x0) * 3;
      kernel_.run(plan, first, last, scratch);
      return;
    }
    for (int row = first; row < last; row += kConvertedRows) {
      const int stop = std::min<int>(row + kConvertedRows, last);
      convert_rows(image, box, plan, row, stop);
      kernel_.run(plan, row, stop, scratch);
    }
  }

 private:
  /// Makes RGB of the source rows that output rows [first, last) need, and points the plan at them.
  void convert_rows(const ImageView& image, const CropBox& box, CropPlan& plan, int first,
                    int last) {
    const int64_t from = plan.y.start[first];
    const int64_t to = plan.y.start[last - 1] + plan.y.count[last - 1];
    plan.pixel_bytes = 4;
    plan.source_stride = plan.source_width * int64_t{4} + kSlack;
    uint8_t* const rows = bytes_.get((to - from) * plan.source_stride);
    for (int64_t y = from; y < to; ++y) {
      const int64_t line = box.y0 + y;
      kernel_.nv12_row(image.data + line * image.stride,
                       image.chroma + line / 2 * image.chroma_stride, box.x0, box.x1, problem_.yuv,
                       rows + (y - from) * plan.source_stride);
    }
    plan.source = rows - from * plan.source_stride;
    plan.readable = plan.source_stride;
  }

  /// Fills what of output rows [begin, end) lies outside the placement.
  void pad(const CropPlan& plan, const CropPlacement& place, int64_t begin, int64_t end,
           uint8_t* out) const {
    const int64_t bytes = element_bytes(plan.element);
    for (int channel = 0; channel < 3; ++channel) {
      uint8_t value[4];
      kernel_.convert(plan, std::fma(problem_.padding, plan.gain[channel], plan.bias[channel]),
                      value);
      for (int64_t y = begin; y < end; ++y) {
        uint8_t* const row =
            out + (channel * plan.out_channel_stride + y * plan.out_row_stride) * bytes;
        const bool inside = y >= place.top && y < place.top + place.height;
        const int64_t gap = inside ? place.left : problem_.out_width;
        for (int64_t x = 0; x < gap; ++x) std::copy_n(value, bytes, row + x * bytes);
        for (int64_t x = inside ? place.left + place.width : gap; x < problem_.out_width; ++x) {
          std::copy_n(value, bytes, row + x * bytes);
        }
      }
    }
  }

  const CropProblem& problem_;
  const CropKernel& kernel_;
  TriangleFilter x_filter_, y_filter_;
  Scratch<float> floats_;
  Scratch<uint8_t> bytes_;
};

}  // namespace

void crop_resize_normalize(const CropProblem& problem) {
  const auto count = static_cast<int64_t>(problem.boxes->size());
  if (count == 0) return;
  const int64_t pixels = count * problem.out_height * problem.out_width;
  const int workers = static_cast<int>(
      std::clamp<int64_t>(pixels / kPixelsPerThread, 1, worker_count(problem.threads)));
  // One task is a band of rows of one crop, so that a single large image also uses every worker.
  const int64_t bands_wanted = (workers * kBandsPerWorker + count - 1) / count;
  const int64_t band_rows =
      ((problem.out_height + bands_wanted - 1) / bands_wanted + kBandStep - 1) / kBandStep *
      kBandStep;
  const int64_t bands = (problem.out_height + band_rows - 1) / band_rows;

  std::atomic<int64_t> next{0};
  run_workers(workers, [&](int) {
    Worker worker(problem);
    for (int64_t task = next++; task < count * bands; task = next++) {
      const int64_t begin = task % bands * band_rows;
      worker.band(task / bands, begin, std::min(begin + band_rows, problem.out_height));
    }
  });
}

}  // namespace crosscam
