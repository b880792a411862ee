// Random problems for memory_infonce, compared with sums over all rows in double.
#include <algorithm>
#include <limits>

#include "fuzz.h"
#include "memory.h"

namespace {

using crosscam::CameraRule;
using crosscam::MemoryProblem;
using crosscam::fuzz::fail;
using crosscam::fuzz::Source;

/// Vectors of exactly the needed size, so that a sanitizer sees every overrun.
struct Problem {
  std::vector<float> features, bank;
  std::vector<int64_t> targets, labels;
  std::vector<int32_t> cameras, bank_cameras;
  MemoryProblem p;
};

std::vector<float> rows(Source& random, int64_t count, int64_t dim, int64_t stride) {
  std::vector<float> out(static_cast<size_t>(count == 0 ? 0 : (count - 1) * stride + dim), 1e9f);
  out.reserve(1);  // an address, also without rows
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t d = 0; d < dim; ++d) {
      out[static_cast<size_t>(r * stride + d)] =
          static_cast<float>(random.normal() / std::sqrt(static_cast<double>(dim)));
    }
  }
  return out;
}

void draw(Source& random, Problem& problem) {
  MemoryProblem& p = problem.p;
  const int64_t samples = random.one_in(4) ? random.below(100) : random.below(20);
  const int64_t count = random.one_in(4) ? random.below(900) : random.below(60);
  const int64_t dim = random.one_in(4) ? random.between(1, 140) : random.between(1, 24);
  const int64_t stride = dim + random.below(4), other = dim + random.below(4);
  const bool labelled = random.one_in(2);
  const int64_t values = labelled ? random.between(1, 20) : std::max<int64_t>(1, count);
  problem.features = rows(random, samples, dim, stride);
  problem.bank = rows(random, count, dim, other);
  for (int64_t i = 0; i < samples; ++i) problem.targets.push_back(random.below(values + 1) - 1);
  for (int64_t j = 0; j < count; ++j) problem.labels.push_back(random.below(values + 1) - 1);
  p.samples = {problem.features.data(), samples, stride, dim, problem.targets.data(), nullptr};
  p.bank = {problem.bank.data(), count, other, labelled ? problem.labels.data() : nullptr, nullptr};
  if (random.one_in(2)) {
    for (int64_t i = 0; i < samples; ++i) {
      problem.cameras.push_back(static_cast<int32_t>(random.below(3)));
    }
    for (int64_t j = 0; j < count; ++j) {
      problem.bank_cameras.push_back(static_cast<int32_t>(random.below(3)));
    }
    problem.cameras.reserve(1);
    problem.bank_cameras.reserve(1);
    p.samples.cameras = problem.cameras.data();
    p.bank.cameras = problem.bank_cameras.data();
    p.candidates = static_cast<CameraRule>(random.below(3));
    p.positives = static_cast<CameraRule>(random.below(3));
  }
  p.temperature = 0.1f * static_cast<float>(random.between(1, 10));
  p.label_smoothing = random.one_in(2) ? 0.0f : 0.1f;
  p.threads = static_cast<int>(random.between(1, 3));
  p.simd = random.one_of(crosscam::simd_levels());
}

struct Answer {
  explicit Answer(const MemoryProblem& p)
      : loss(static_cast<size_t>(p.samples.count), -7.0f),
        lse(loss),
        positives(loss.size(), -7),
        allowed(positives),
        gradient(loss.size() * static_cast<size_t>(p.samples.dim), -7.0f) {}
  std::vector<float> loss, lse;
  std::vector<int64_t> positives, allowed;
  std::vector<float> gradient;
};

bool follows(CameraRule rule, bool same) {
  return rule == CameraRule::kAny || same == (rule == CameraRule::kOnlySame);
}

/// Loss = lse - (1 - e) mean of s over positives - e mean of s over all allowed rows.
bool check_sample(const Problem& problem, const Answer& found, int64_t i) {
  const MemoryProblem& p = problem.p;
  const auto at = static_cast<size_t>(i);
  const int64_t dim = p.samples.dim;
  const float* const x = p.samples.features + i * p.samples.stride;
  std::vector<double> score(static_cast<size_t>(p.bank.count), 0.0);
  std::vector<int> kind(score.size(), 0);  // 0 left out, 1 negative, 2 positive
  int64_t positives = 0, allowed = 0;
  double most = -std::numeric_limits<double>::infinity();
  for (size_t j = 0; j < score.size(); ++j) {
    const float* const row = p.bank.rows + static_cast<int64_t>(j) * p.bank.stride;
    for (int64_t d = 0; d < dim; ++d) score[j] += static_cast<double>(x[d]) * row[d];
    score[j] /= p.temperature;
    const int64_t label = p.bank.labels != nullptr ? p.bank.labels[j] : static_cast<int64_t>(j);
    const bool same = p.bank.cameras == nullptr || p.samples.cameras[i] == p.bank.cameras[j];
    if (label < 0 || !follows(p.candidates, same)) continue;
    const bool own = label == problem.targets[at];
    if (own && !follows(p.positives, same)) continue;  // neither positive nor negative
    kind[j] = own ? 2 : 1;
    positives += kind[j] == 2 ? 1 : 0;
    ++allowed;
    most = std::max(most, score[j]);
  }
  const bool counted = problem.targets[at] >= 0 && positives > 0;
  double sum = 0.0, of_positives = 0.0, of_all = 0.0;
  for (size_t j = 0; counted && j < score.size(); ++j) {
    if (kind[j] == 0) continue;
    sum += std::exp(score[j] - most);
    of_all += score[j];
    if (kind[j] == 2) of_positives += score[j];
  }
  const double e = p.label_smoothing, lse = most + std::log(sum);
  const double want = !counted ? 0.0
                               : lse - (1.0 - e) * of_positives / static_cast<double>(positives) -
                                     e * of_all / static_cast<double>(allowed);
  if (found.positives[at] != (counted ? positives : 0)) return fail("positives", i, positives);
  if (!(std::abs(found.loss[at] - want) <= 2e-4 * (1.0 + std::abs(want)))) {
    return fail("wrong loss", i, allowed);
  }
  for (int64_t d = 0; d < dim; ++d) {
    double gradient = 0.0;
    for (size_t j = 0; counted && j < score.size(); ++j) {
      if (kind[j] == 0) continue;
      double share = std::exp(score[j] - lse) - e / static_cast<double>(allowed);
      if (kind[j] == 2) share -= (1.0 - e) / static_cast<double>(positives);
      gradient += share * p.bank.rows[static_cast<int64_t>(j) * p.bank.stride + d] / p.temperature;
    }
    const float got = found.gradient[at * static_cast<size_t>(dim) + static_cast<size_t>(d)];
    if (!(std::abs(got - gradient) <= 5e-4 * (1.0 + std::abs(gradient)))) {
      return fail("wrong gradient", i, d);
    }
  }
  return true;
}

}  // namespace

bool fuzz_one(Source& random) {
  Problem problem;
  draw(random, problem);
  const MemoryProblem& p = problem.p;
  Answer found(p);
  const crosscam::MemoryStatistics statistics{found.lse.data(), found.positives.data(),
                                              found.allowed.data(), nullptr};
  crosscam::memory_infonce(p, found.loss.data(), statistics, found.gradient.data());
  bool right = true;
  for (int64_t i = 0; right && i < p.samples.count; ++i) right = check_sample(problem, found, i);
  if (right) return true;
  std::fprintf(stderr, "N=%lld K=%lld D=%lld labels=%d cameras=%d rules=%d,%d level=%s\n",
               static_cast<long long>(p.samples.count), static_cast<long long>(p.bank.count),
               static_cast<long long>(p.samples.dim), p.bank.labels != nullptr ? 1 : 0,
               p.bank.cameras != nullptr ? 1 : 0, static_cast<int>(p.candidates),
               static_cast<int>(p.positives), crosscam::simd_name(p.simd));
  return false;
}
