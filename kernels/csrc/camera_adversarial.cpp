#include "camera_adversarial.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"

namespace crosscam {
namespace {

constexpr int64_t kClasses = 32;  // classes of a tile: their rows stay in the second-level cache
constexpr int64_t kSamples = 64;  // samples of a tile, at most
constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr float kMinNorm = 1e-12f;
constexpr float kMinSquaredSine = 1e-6f;

/// exp(x) for x <= 0 within 2 units in the last place; 0 below -87. In this form compilers turn
/// loops over it into vectors, and it gives the same bits everywhere.
inline float exp_negative(float x) {
  const float y = x > -87.0f ? x : -87.0f;  // also for a NaN, which has no integer
  const float steps = y * 1.44269504f - 0.5f;
  const auto n = static_cast<int32_t>(steps);  // towards zero: the nearest for y <= 0
  const auto k = static_cast<float>(n);
  const float r = (y - k * 0.693359375f) - k * -2.12194440e-4f;  // Cody and Waite
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float value = (p * r * r + r + 1.0f) * std::bit_cast<float>((n + 127) << 23);
  return x < -87.0f ? 0.0f : x == x ? value : x;
}

/// log(1 + exp(x)) and its derivative, in double.
struct Softplus {
  explicit Softplus(double x)
      : value(x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x))),
        slope(1 / (1 + std::exp(-x))) {}
  double value, slope;
};

/// Inverse norms; 0 for rows that count as zero vectors, whose cosines are 0.
std::vector<float> inverse_norms(const DenseRows& rows, int64_t dim) {
  std::vector<float> inverse(static_cast<size_t>(rows.count));
  for (int64_t r = 0; r < rows.count; ++r) {
    const float* const row = rows.data + r * rows.stride;
    double sum[8] = {};
    int64_t d = 0;
    for (; d + 8 <= dim; d += 8) {
      for (int64_t i = 0; i < 8; ++i) sum[i] += static_cast<double>(row[d + i]) * row[d + i];
    }
    for (; d < dim; ++d) sum[0] += static_cast<double>(row[d]) * row[d];
    const double norm =
        std::sqrt((sum[0] + sum[1]) + (sum[2] + sum[3]) + ((sum[4] + sum[5]) + (sum[6] + sum[7])));
    inverse[static_cast<size_t>(r)] = norm <= kMinNorm ? 0.0f : static_cast<float>(1 / norm);
  }
  return inverse;
}

/// phi of the own class, ArcFace's angular margin, and its derivative.
class Margin {
 public:
  explicit Margin(double angle)
      : angle_(angle),
        cos_(static_cast<float>(std::cos(angle))),
        sin_(static_cast<float>(std::sin(angle))),
        turn_(static_cast<float>(-std::cos(angle))),
        drop_(static_cast<float>(angle * std::sin(angle))) {}

  float value(float c) const {
    if (angle_ == 0) return c;
    if (!(c > turn_)) return c - drop_;
    return c * cos_ - std::sqrt(squared_sine(c)) * sin_;
  }
  float slope(float c) const {
    if (angle_ == 0 || !(c > turn_)) return 1.0f;
    const float squared = squared_sine(c);
    return squared > kMinSquaredSine ? cos_ + c / std::sqrt(squared) * sin_ : cos_;
  }

 private:
  static float squared_sine(float c) { return std::max(1 - c * c, kMinSquaredSine); }
  double angle_;
  float cos_, sin_, turn_, drop_;
};

/// A positive class of a sample, by its place in the block.
struct Positive {
  int64_t sample, index;
  float cosine;
};

/// What both passes share: norms, masks and logits.
class Tiles {
 public:
  explicit Tiles(const CameraAdversarialProblem& problem)
      : p(problem),
        margin(problem.margin),
        feature_inverse(inverse_norms(problem.features, problem.dim)),
        class_inverse(inverse_norms(problem.classes, problem.dim)) {}

  bool counts(int64_t sample) const {
    const int64_t own = p.label[sample];
    return own >= 0 && own < p.classes.count && (!p.group || p.group[own] >= 0);
  }
  /// Labels of samples [first, first + count) as the loops want them: person, camera, own class.
  void describe(int64_t first, int64_t count) {
    for (auto* values : {&own, &person, &place}) values->resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      const bool used = counts(first + i);
      own[at] = used ? p.label[first + i] : -1;
      person[at] = used ? (p.group ? p.group[own[at]] : own[at]) : -1;
      place[at] = used && p.camera ? p.camera[own[at]] : 0;
    }
  }

  /// Turns products of class g with `count` described samples into cosines and negatives' logits.
  ///
  /// @param positives where to note the positives, whose logit becomes -infinity
  void logits(int64_t g, int64_t first, int64_t count, float* cosine, float* logit,
              std::vector<Positive>& positives) const {
    const float inverse = class_inverse[static_cast<size_t>(g)];
    const float* const feature = feature_inverse.data() + first;
    for (int64_t i = 0; i < count; ++i) cosine[i] *= feature[i] * inverse;
    if (p.camera && p.boost != 0) {
      for (int64_t i = 0; i < count; ++i) {
        const bool same = p.camera[g] == place[static_cast<size_t>(i)];
        logit[i] = p.scale * (same ? (1 + p.boost) * cosine[i] + p.boost : cosine[i]);
      }
    } else {
      for (int64_t i = 0; i < count; ++i) logit[i] = p.scale * cosine[i];
    }
    const int64_t mine = p.group ? p.group[g] : g;
    const int64_t* const people = person.data();
    int64_t any = 0;
    for (int64_t i = 0; i < count; ++i) any |= people[i] == mine;
    if (!any || mine < 0) return;
    for (int64_t i = 0; i < count; ++i) {
      if (people[i] != mine) continue;
      const bool is_own = own[static_cast<size_t>(i)] == g;
      const bool linked = !is_own && p.camera && p.camera[g] == place[static_cast<size_t>(i)];
      if (linked && !p.ignore_linked) continue;
      logit[i] = kNone;
      if (!linked) positives.push_back({i, g, cosine[i]});
    }
  }

  float boost_slope(int64_t g, int64_t i) const {
    const bool same = p.camera && p.camera[g] == place[static_cast<size_t>(i)];
    return same ? 1 + p.boost : 1.0f;
  }

  const CameraAdversarialProblem& p;
  Margin margin;
  std::vector<float> feature_inverse, class_inverse;
  std::vector<int64_t> own, person, place;
};

/// One block of samples against all classes.
class SampleBlock {
 public:
  SampleBlock(const Tiles& tiles, int64_t capacity)
      : tiles_(tiles), packed_(tiles.p.simd, capacity, tiles.p.dim) {}

  void run(int64_t first, int64_t count, float* loss, float* log_sum, float* slope,
           float* gradient) {
    const auto& p = tiles_.p;
    tiles_.describe(first, count);
    packed_.pack(p.features.slice(first, count));
    positives_.clear();
    largest_.assign(static_cast<size_t>(count), kNone);
    sum_.assign(static_cast<size_t>(count), 0.0f);
    along_.assign(static_cast<size_t>(count), 0.0f);
    cosine_.resize(static_cast<size_t>(kClasses * count));
    logit_.resize(static_cast<size_t>(kClasses * count));
    if (gradient) std::fill_n(gradient, count * p.dim, 0.0f);
    for (int64_t g = 0; g < p.classes.count; g += kClasses) {
      tile(g, std::min(kClasses, p.classes.count - g), first, count, gradient);
    }
    std::stable_sort(positives_.begin(), positives_.end(),
                     [](const Positive& a, const Positive& b) { return a.sample < b.sample; });
    auto next = positives_.begin();
    for (int64_t i = 0; i < count; ++i) {
      const auto begin = next;
      while (next != positives_.end() && next->sample == i) ++next;
      finish(first + i, i, begin, next, loss + i, log_sum + i, slope + i,
             gradient ? gradient + i * p.dim : nullptr);
    }
  }

 private:
  using Iterator = std::vector<Positive>::const_iterator;

  /// Adds classes [g, g + rows) to the running sums (Milakov and Gimelshein's online softmax).
  void tile(int64_t g, int64_t rows, int64_t first, int64_t count, float* gradient) {
    const auto& p = tiles_.p;
    const DenseRows classes = p.classes.slice(g, rows);
    dense_products(classes, packed_, cosine_.data(), count);
    std::vector<float>& now = largest_now_;
    now = largest_;
    for (int64_t r = 0; r < rows; ++r) {
      float* const logit = logit_.data() + r * count;
      tiles_.logits(g + r, first, count, cosine_.data() + r * count, logit, positives_);
      for (int64_t i = 0; i < count; ++i) {
        auto& top = now[static_cast<size_t>(i)];
        top = logit[i] > top ? logit[i] : top;
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      if (now[at] == largest_[at]) continue;
      const float shrink = largest_[at] == kNone ? 0.0f : exp_negative(largest_[at] - now[at]);
      largest_[at] = now[at];
      sum_[at] *= shrink;
      along_[at] *= shrink;
      if (gradient) {
        for (int64_t d = 0; d < p.dim; ++d) gradient[i * p.dim + d] *= shrink;
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      float* const weight = logit_.data() + r * count;
      const float* const cosine = cosine_.data() + r * count;
      const float* const top = largest_.data();
      for (int64_t i = 0; i < count; ++i) {
        // Where nothing is negative yet both are -infinity, and the weight is 0.
        const float e = weight[i] == kNone ? 0.0f : exp_negative(weight[i] - top[i]);
        weight[i] = e;
        sum_[static_cast<size_t>(i)] += e;
      }
      if (!gradient) continue;
      if (p.camera && p.boost != 0) {
        for (int64_t i = 0; i < count; ++i) weight[i] *= tiles_.boost_slope(g + r, i);
      }
      const float inverse = tiles_.class_inverse[static_cast<size_t>(g + r)];
      for (int64_t i = 0; i < count; ++i) {
        along_[static_cast<size_t>(i)] += weight[i] * cosine[i];
        weight[i] *= inverse;
      }
    }
    if (gradient) {
      dense_accumulate(p.simd, {logit_.data(), 1, count}, count, classes, p.dim, gradient, p.dim);
    }
  }

  /// The positives of one sample, and from the sums its loss and gradient.
  void finish(int64_t sample, int64_t i, Iterator begin, Iterator end, float* loss, float* log_sum,
              float* slope, float* gradient) const {
    const auto& p = tiles_.p;
    const auto at = static_cast<size_t>(i);
    const double all = largest_[at] == kNone
                           ? static_cast<double>(kNone)
                           : largest_[at] + std::log(static_cast<double>(sum_[at]));
    *loss = *slope = 0.0f;
    *log_sum = static_cast<float>(all);
    if (!tiles_.counts(sample)) {
      if (gradient) std::fill_n(gradient, p.dim, 0.0f);
      return;
    }
    const double share = p.epsilon / static_cast<double>(end - begin);
    double total = 0, steepness = 0;
    for (auto positive = begin; positive != end; ++positive) {
      const Softplus term(all - logit(*positive));
      const double q = share + (positive->index == p.label[sample] ? 1 - p.epsilon : 0.0);
      total += q * term.value;
      steepness += q * term.slope;
    }
    *loss = static_cast<float>(total);
    *slope = static_cast<float>(steepness);
    if (!gradient) return;
    // d loss / d cosine: S p scale phi' for a negative, -q sigma(A - z) scale phi' for a positive.
    const double away = sum_[at] > 0 ? steepness * p.scale / static_cast<double>(sum_[at]) : 0.0;
    double along = away * static_cast<double>(along_[at]);
    for (int64_t d = 0; d < p.dim; ++d) gradient[d] *= static_cast<float>(away);
    for (auto positive = begin; positive != end; ++positive) {
      const bool is_own = positive->index == p.label[sample];
      const double q = share + (is_own ? 1 - p.epsilon : 0.0);
      const double bend = is_own ? tiles_.margin.slope(positive->cosine) : 1.0f;
      const double towards = -q * Softplus(all - logit(*positive)).slope * p.scale * bend;
      along += towards * static_cast<double>(positive->cosine);
      const auto factor = static_cast<float>(
          towards *
          static_cast<double>(tiles_.class_inverse[static_cast<size_t>(positive->index)]));
      const float* const row = p.classes.data + positive->index * p.classes.stride;
      for (int64_t d = 0; d < p.dim; ++d) gradient[d] += factor * row[d];
    }
    const float inverse = tiles_.feature_inverse[static_cast<size_t>(sample)];
    const float back = static_cast<float>(along) * inverse;
    const float* const x = p.features.data + sample * p.features.stride;
    for (int64_t d = 0; d < p.dim; ++d) gradient[d] = inverse * (gradient[d] - back * x[d]);
  }

  double logit(const Positive& positive) const {
    const bool is_own = tiles_.own[static_cast<size_t>(positive.sample)] == positive.index;
    const float c = positive.cosine;
    return static_cast<double>(tiles_.p.scale) * (is_own ? tiles_.margin.value(c) : c);
  }

  Tiles tiles_;  // a copy: each worker describes its own samples
  PackedRows packed_;
  std::vector<Positive> positives_;
  std::vector<float> largest_, largest_now_, sum_, along_, cosine_, logit_;
};

}  // namespace

void camera_adversarial(const CameraAdversarialProblem& problem, float* loss, float* log_sum,
                        float* slope, float* gradient) {
  const int64_t count = problem.features.count;
  if (count == 0) return;
  const int wanted = worker_count(problem.threads);
  const int64_t fair = ((count + wanted - 1) / wanted + 15) / 16 * 16;
  const int64_t block = std::clamp<int64_t>(fair, 16, kSamples);
  const int64_t blocks = (count + block - 1) / block;
  const Tiles tiles(problem);
  std::atomic<int64_t> next{0};
  run_workers(static_cast<int>(std::min<int64_t>(wanted, blocks)), [&](int) {
    SampleBlock worker(tiles, block);
    for (int64_t b = next++; b < blocks; b = next++) {
      const int64_t first = b * block;
      worker.run(first, std::min(block, count - first), loss + first, log_sum + first,
                 slope + first, gradient ? gradient + first * problem.dim : nullptr);
    }
  });
}

void camera_classifier_gradient(const CameraAdversarialProblem& problem, const float* weight,
                                const float* log_sum, const float* slope, float* gradient) {
  const int64_t samples = problem.features.count, classes = problem.classes.count;
  const int64_t dim = problem.dim;
  std::fill_n(gradient, classes * dim, 0.0f);
  if (samples == 0 || classes == 0) return;
  const Tiles shared(problem);
  PackedRows packed(problem.simd, samples, dim);
  packed.pack(problem.features);
  const int64_t tiles_count = (classes + kClasses - 1) / kClasses;
  const int workers =
      static_cast<int>(std::min<int64_t>(worker_count(problem.threads), tiles_count));
  std::atomic<int64_t> next{0};
  run_workers(workers, [&](int) {
    Tiles tiles = shared;
    tiles.describe(0, samples);
    std::vector<Positive> positives;
    std::vector<float> cosine(static_cast<size_t>(kClasses * samples)), factor(cosine.size());
    for (int64_t task = next++; task < tiles_count; task = next++) {
      const int64_t g = task * kClasses, rows = std::min(kClasses, classes - g);
      const DenseRows slice = problem.classes.slice(g, rows);
      dense_products(slice, packed, cosine.data(), samples);
      float along[kClasses] = {};
      for (int64_t r = 0; r < rows; ++r) {
        float* const c = cosine.data() + r * samples;
        float* const f = factor.data() + r * samples;
        positives.clear();
        tiles.logits(g + r, 0, samples, c, f, positives);
        for (int64_t n = 0; n < samples; ++n) {
          const float lift = f[n] - log_sum[n];  // above 0 by rounding only
          const float p = f[n] == kNone ? 0.0f : exp_negative(lift > 0 ? 0.0f : lift);
          f[n] = weight[n] * slope[n] * problem.scale * p;
        }
        for (const Positive& own : positives) {
          const int64_t n = own.sample;
          f[n] = -weight[n] * slope[n] * problem.scale * tiles.margin.slope(own.cosine);
        }
        for (int64_t n = 0; n < samples; ++n) {
          along[r] += f[n] * c[n];
          f[n] *= tiles.feature_inverse[static_cast<size_t>(n)];
        }
      }
      float* const out = gradient + g * dim;
      dense_accumulate(problem.simd, {factor.data(), samples, 1}, rows, problem.features, dim, out,
                       dim);
      for (int64_t r = 0; r < rows; ++r) {
        const float inverse = tiles.class_inverse[static_cast<size_t>(g + r)];
        const float back = along[r] * inverse;
        const float* const w = slice.data + r * slice.stride;
        for (int64_t d = 0; d < dim; ++d) {
          out[r * dim + d] = inverse * (out[r * dim + d] - back * w[d]);
        }
      }
    }
  });
}

}  // namespace crosscam
