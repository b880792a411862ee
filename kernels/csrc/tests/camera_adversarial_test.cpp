#include "camera_adversarial.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"

namespace {

using crosscam::CameraAdversarialProblem;

struct Data {
  Data(int64_t n, int64_t g, int64_t d, uint32_t seed)
      : count(n), classes(g), dim(d), x(static_cast<size_t>(n * d)), w(static_cast<size_t>(g * d)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (auto* rows : {&x, &w}) {
      for (float& value : *rows) value = normal(random);
    }
    for (int64_t i = 0; i < n; ++i) label.push_back(static_cast<int64_t>(random() % (g + 1)) - 1);
    for (int64_t i = 0; i < g; ++i) {
      group.push_back(static_cast<int64_t>(random() % (g / 3 + 2)) - 1);
      camera.push_back(static_cast<int64_t>(random() % 3));
    }
  }

  CameraAdversarialProblem problem() const {
    CameraAdversarialProblem p;
    p.features = {x.data(), count, dim};
    p.classes = {w.data(), classes, dim};
    p.dim = dim;
    p.label = label.data();
    p.group = group.data();
    p.camera = camera.data();
    p.epsilon = 0.8;
    p.scale = 16;
    p.threads = 2;
    return p;
  }

  /// Loss of one sample by the definition, in double, with feature element `at` moved by `step`.
  double loss(const CameraAdversarialProblem& p, int64_t n, int64_t at, double step) const {
    const int64_t own = label[static_cast<size_t>(n)];
    if (own < 0 || group[static_cast<size_t>(own)] < 0) return 0;
    std::vector<double> f(x.begin() + n * dim, x.begin() + (n + 1) * dim), z;
    f[static_cast<size_t>(at)] += step;
    double norm = 0, outside = 0, total = 0;
    for (const double value : f) norm += value * value;
    std::vector<int64_t> positives;
    for (int64_t g = 0; g < classes; ++g) {
      double product = 0, size = 0;
      for (int64_t d = 0; d < dim; ++d) {
        const double value = w[static_cast<size_t>(g * dim + d)];
        product += f[static_cast<size_t>(d)] * value;
        size += value * value;
      }
      const auto at_g = static_cast<size_t>(g), at_own = static_cast<size_t>(own);
      const bool together = group[at_g] == group[at_own], same = camera[at_g] == camera[at_own];
      z.push_back(p.scale * product / std::sqrt(norm * size));
      if (g == own || (together && !same)) {
        positives.push_back(g);
      } else if (!together || !p.ignore_linked) {
        outside += std::exp(z.back());
      }
    }
    for (const int64_t g : positives) {
      const double e = std::exp(z[static_cast<size_t>(g)]);
      const double q =
          p.epsilon / static_cast<double>(positives.size()) + (g == own ? 1 - p.epsilon : 0.0);
      total -= q * std::log(e / (e + outside));
    }
    return total;
  }

  int64_t count, classes, dim;
  std::vector<float> x, w;
  std::vector<int64_t> label, group, camera;
};

void matches_the_definition(int64_t n, int64_t g, int64_t d, bool ignore) {
  const Data data(n, g, d, static_cast<uint32_t>(n + 7 * g + 31 * d));
  std::vector<float> first;
  for (const auto level : crosscam::simd_levels()) {
    for (const int threads : {1, 3}) {
      CameraAdversarialProblem p = data.problem();
      p.ignore_linked = ignore;
      p.simd = level;
      p.threads = threads;
      const auto nan = std::numeric_limits<float>::quiet_NaN();
      // Exactly as many as are written, so that a sanitizer sees any beyond the end.
      std::vector<float> loss(static_cast<size_t>(n), nan), log_sum = loss, slope = loss;
      std::vector<float> gradient(static_cast<size_t>(n * d), nan);
      crosscam::camera_adversarial(p, loss.data(), log_sum.data(), slope.data(), gradient.data());
      std::vector<float> without(static_cast<size_t>(n), nan);
      crosscam::camera_adversarial(p, without.data(), log_sum.data(), slope.data(), nullptr);
      CHECK(without == loss);
      if (first.empty()) {
        first = gradient;
        for (int64_t i = 0; i < n; ++i) {
          const double wanted = data.loss(p, i, 0, 0);
          CHECK(std::abs(loss[static_cast<size_t>(i)] - wanted) < 1e-4 * (1 + wanted));
          const int64_t at = i % d;
          const double slope_at = (data.loss(p, i, at, 1e-5) - data.loss(p, i, at, -1e-5)) / 2e-5;
          CHECK(std::abs(gradient[static_cast<size_t>(i * d + at)] - slope_at) <
                1e-3 * (1 + std::abs(slope_at)));
        }
      }
      CHECK(gradient == first);  // same bits for any level and number of threads
    }
  }
}

void classifier_gradient_sums_to_nothing_along_each_class() {
  const Data data(20, 45, 9, 3);
  CameraAdversarialProblem p = data.problem();
  p.group = p.camera = nullptr;
  std::vector<float> loss(20), log_sum(20), slope(20), weight(20, 0.5f), gradient(45 * 9, NAN);
  crosscam::camera_adversarial(p, loss.data(), log_sum.data(), slope.data(), nullptr);
  crosscam::camera_classifier_gradient(p, weight.data(), log_sum.data(), slope.data(),
                                       gradient.data());
  double size = 0;
  for (int64_t g = 0; g < 45; ++g) {
    double along = 0;  // a longer row has the same cosines
    for (int64_t d = 0; d < 9; ++d) {
      const auto at = static_cast<size_t>(g * 9 + d);
      along += static_cast<double>(gradient[at]) * data.w[at];
      size += std::abs(static_cast<double>(gradient[at]));
    }
    CHECK(std::abs(along) < 1e-3);
  }
  CHECK(size > 1);
}

}  // namespace

int main() {
  for (const bool ignore : {false, true}) {
    matches_the_definition(1, 1, 1, ignore);
    matches_the_definition(5, 40, 7, ignore);
    matches_the_definition(70, 33, 17, ignore);
    matches_the_definition(33, 100, 64, ignore);
  }
  classifier_gradient_sums_to_nothing_along_each_class();
  return 0;
}
