#include "triplet.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace crosscam {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool complete(float positive, float negative) {
  return positive > -kInfinity && negative < kInfinity;
}

}  // namespace

void triplet_terms(const float* positive_distance, const float* negative_distance, int64_t count,
                   TripletMargin margin, float* loss, float* slope) {
  for (int64_t i = 0; i < count; ++i) {
    loss[i] = slope[i] = 0.0f;
    if (!complete(positive_distance[i], negative_distance[i])) continue;
    const double gap = static_cast<double>(positive_distance[i]) - negative_distance[i];
    if (margin.soft) {
      // log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) does not overflow.
      const double small = std::exp(-std::abs(gap));
      loss[i] = static_cast<float>(std::max(gap, 0.0) + std::log1p(small));
      slope[i] = static_cast<float>((gap > 0.0 ? 1.0 : small) / (1.0 + small));
    } else if (gap + margin.margin > 0.0) {
      loss[i] = static_cast<float>(gap + margin.margin);
      slope[i] = 1.0f;
    }
  }
}

float triplet_scale(const float* positive_distance, const float* negative_distance,
                    const float* loss, int64_t count, Reduction reduction) {
  if (reduction == Reduction::kNone) return 1.0f;
  int64_t counted = 0;
  for (int64_t i = 0; i < count; ++i) {
    counted += reduction == Reduction::kMean ? complete(positive_distance[i], negative_distance[i])
                                             : loss[i] > 0.0f;
  }
  return counted == 0 ? 0.0f : 1.0f / static_cast<float>(counted);
}

double triplet_sum(const float* loss, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += loss[i];
  return sum;
}

}  // namespace crosscam
