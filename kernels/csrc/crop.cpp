#include "crop.h"

#include <algorithm>
#include <atomic>

#include "parallel.h"
#include "resize_filter.h"
#include "simd_kernels.h"

namespace crosscam {
namespace {

constexpr int64_t kBandsPerWorker = 4;
constexpr int64_t kBandStep = 16;             // rows; a multiple of what any kernel makes together
constexpr int64_t kPixelsPerThread = 16'384;  // output pixels below which a thread costs more

/// Float memory aligned to a cache line that grows and is reused.
class Scratch {
 public:
  float* get(size_t floats) {
    if (storage_.size() < floats + kAlign) storage_.resize(floats + kAlign);
    const auto address = reinterpret_cast<uintptr_t>(storage_.data()) / sizeof(float);
    return storage_.data() + (kAlign - address % kAlign) % kAlign;
  }

 private:
  static constexpr size_t kAlign = 16;
  std::vector<float> storage_;
};

}  // namespace

void crop_resize_normalize(const CropProblem& problem) {
  const auto& boxes = *problem.boxes;
  const auto count = static_cast<int64_t>(boxes.size());
  if (count == 0) return;
  const CropKernel& kernel = crop_kernel(problem.simd);

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
    TriangleFilter x_filter, y_filter;
    Scratch scratch;
    for (int64_t task = next++; task < count * bands; task = next++) {
      const int64_t n = task / bands;
      const CropBox& box = boxes[static_cast<size_t>(n)];
      const ImageView& image = (*problem.images)[static_cast<size_t>(box.image)];
      x_filter.assign(box.x1 - box.x0, problem.out_width);
      y_filter.assign(box.y1 - box.y0, problem.out_height);
      CropPlan plan{};
      plan.source = image.data + box.y0 * image.stride + box.x0 * 3;
      plan.source_stride = image.stride;
      plan.source_width = static_cast<int>(box.x1 - box.x0);
      plan.readable = (image.width - box.x0) * 3;
      plan.x = x_filter.view();
      plan.y = y_filter.view();
      plan.out_width = static_cast<int>(problem.out_width);
      plan.out = problem.out + n * problem.out_image_stride;
      plan.out_channel_stride = problem.out_channel_stride;
      plan.out_row_stride = problem.out_row_stride;
      std::copy_n(problem.source_channel, 3, plan.source_channel);
      std::copy_n(problem.gain, 3, plan.gain);
      std::copy_n(problem.bias, 3, plan.bias);

      const int64_t begin = task % bands * band_rows;
      const int64_t end = std::min(begin + band_rows, problem.out_height);
      const int64_t padded = (plan.source_width + kernel.rows - 1) / kernel.rows * kernel.rows;
      const int64_t floats = padded * kernel.lanes + (box.y1 - box.y0) * kernel.rows;
      kernel.run(plan, static_cast<int>(begin), static_cast<int>(end),
                 scratch.get(static_cast<size_t>(floats)));
    }
  });
}

}  // namespace crosscam
