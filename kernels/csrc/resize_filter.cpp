#include "resize_filter.h"

#include <algorithm>
#include <cmath>

namespace crosscam {

void TriangleFilter::assign(int64_t in, int64_t out) {
  if (in == in_ && out == out_) return;
  in_ = in;
  out_ = out;
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(scale, 1.0);
  const double inverse = 1.0 / support;
  taps_ = static_cast<int>(std::ceil(support)) * 2 + 1;
  start_.resize(static_cast<size_t>(out));
  count_.resize(static_cast<size_t>(out));
  weight_.assign(static_cast<size_t>(out * taps_), 0.0f);
  for (int64_t i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t last = std::min<int64_t>(in, static_cast<int64_t>(center + support + 0.5));
    const auto tap = [&](int64_t t) {
      const double distance = std::abs((static_cast<double>(first + t) - center + 0.5) * inverse);
      return std::max(0.0, 1.0 - distance);
    };
    double sum = 0.0;
    for (int64_t t = 0; t < last - first; ++t) sum += tap(t);
    const double norm = 1.0 / sum;
    float* const weight = weight_.data() + i * taps_;
    for (int64_t t = 0; t < last - first; ++t) weight[t] = static_cast<float>(tap(t) * norm);
    start_[static_cast<size_t>(i)] = static_cast<int32_t>(first);
    count_[static_cast<size_t>(i)] = static_cast<int32_t>(last - first);
  }
}

}  // namespace crosscam
