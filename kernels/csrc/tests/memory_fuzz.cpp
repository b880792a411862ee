// Random problems for memory_infonce, compared with sums over all rows in double.
#include <algorithm>
#include <limits>

#include "fuzz.h"
#include "memory.h"

namespace {

using crosscam::CameraRule;
using crosscam::MemoryProblem;
using crosscam::fuzz::draw_cameras;
using crosscam::fuzz::draw_rows;
using crosscam::fuzz::fail;
using crosscam::fuzz::Source;

struct Problem {
  std::vector<float> features, bank;
  std::vector<int64_t> targets, labels;
  std::vector<int32_t> cameras, bank_cameras;
  bool integers = false;  // products are exact, so that ties are known
  MemoryProblem p;
};

void draw(Source& random, Problem& problem) {
  MemoryProblem& p = problem.p;
  const int64_t samples = random.one_in(4) ? random.below(100) : random.below(20);
  int64_t count = random.one_in(4) ? random.below(900) : random.below(60);
  if (random.one_in(20)) count = random.between(1500, 3200);  // several ranges of rows
  const int64_t dim = random.one_in(4) ? random.between(1, 140) : random.between(1, 24);
  const int64_t stride = dim + random.below(4), other = dim + random.below(4);
  const bool labelled = random.one_in(2);
  const int64_t values = labelled ? random.between(1, 20) : std::max<int64_t>(1, count);
  problem.integers = random.one_in(3);
  problem.features = draw_rows(random, samples, dim, stride, problem.integers);
  problem.bank = draw_rows(random, count, dim, other, problem.integers);
  for (int64_t i = 0; i < samples; ++i) problem.targets.push_back(random.below(values + 1) - 1);
  for (int64_t j = 0; j < count; ++j) problem.labels.push_back(random.below(values + 1) - 1);
  p.samples = {problem.features.data(), samples, stride, dim, problem.targets.data(), nullptr};
  p.bank = {problem.bank.data(), count, other, labelled ? problem.labels.data() : nullptr, nullptr};
  if (random.one_in(2)) {
    problem.cameras = draw_cameras(random, samples);
    problem.bank_cameras = draw_cameras(random, count);
    p.samples.cameras = problem.cameras.data();
    p.bank.cameras = problem.bank_cameras.data();
    p.candidates = static_cast<CameraRule>(random.below(3));
    p.positives = static_cast<CameraRule>(random.below(3));
  }
  if (random.one_in(2)) p.hard_negatives = random.below(random.one_in(4) ? 90 : 8);
  // Products of integers are larger: with the same temperature the logits' rounding would show.
  p.temperature = (problem.integers ? 1.0f : 0.1f) * static_cast<float>(random.between(1, 10));
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
        negatives(loss.size() * static_cast<size_t>(std::max<int64_t>(0, p.hard_negatives)), -7),
        gradient(loss.size() * static_cast<size_t>(p.samples.dim), -7.0f) {}
  std::vector<float> loss, lse;
  std::vector<int64_t> positives, allowed, negatives;
  std::vector<float> gradient;
};

bool follows(CameraRule rule, bool same) {
  return rule == CameraRule::kAny || same == (rule == CameraRule::kOnlySame);
}

/// Whether the chosen negatives are the most similar ones, best first; the others get kind 0.
bool check_negatives(const Problem& problem, const Answer& found, int64_t i, bool counted,
                     const std::vector<double>& score, std::vector<int>& kind) {
  const int64_t k = problem.p.hard_negatives;
  const int64_t* const chosen = found.negatives.data() + i * k;
  const auto there = static_cast<int64_t>(std::count(kind.begin(), kind.end(), 1));
  const int64_t want = counted ? std::min(k, there) : 0;
  const double slack = problem.integers ? 0.0 : 1e-4;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t n = 0; n < k; ++n) {
    const int64_t j = chosen[n];
    if (n >= want) {
      if (j != -1) return fail("a negative too many", i, n);
      continue;
    }
    if (j < 0 || j >= static_cast<int64_t>(kind.size())) return fail("no negative", i, n);
    const auto row = static_cast<size_t>(j);
    if (kind[row] != 1) return fail("no negative, or chosen twice", i, n);
    kind[row] = 3;
    if (score[row] > least + slack) return fail("negatives out of order", i, n);
    if (problem.integers && score[row] == least && j < chosen[n - 1]) {
      return fail("of equal negatives the later comes first", i, n);
    }
    least = score[row];
  }
  for (size_t j = 0; j < kind.size(); ++j) {
    if (kind[j] == 1 && want > 0) {
      if (score[j] > least + slack) return fail("a harder negative is missing", i, want);
      const bool earlier = static_cast<int64_t>(j) < chosen[want - 1];
      if (problem.integers && score[j] == least && earlier) {
        return fail("an equal negative with a smaller row is missing", i, want);
      }
    }
    if (kind[j] == 1) kind[j] = 0;
    if (kind[j] == 3) kind[j] = 1;
  }
  return true;
}

/// Loss = lse - (1 - e) mean of s over positives - e mean of s over all allowed rows.
bool check_sample(const Problem& problem, const Answer& found, int64_t i) {
  const MemoryProblem& p = problem.p;
  const auto at = static_cast<size_t>(i);
  const int64_t dim = p.samples.dim;
  const float* const x = p.samples.features + i * p.samples.stride;
  std::vector<double> score(static_cast<size_t>(p.bank.count), 0.0);
  std::vector<int> kind(score.size(), 0);  // 0 left out, 1 negative, 2 positive
  int64_t positives = 0;
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
  }
  const bool counted = problem.targets[at] >= 0 && positives > 0;
  if (p.hard_negatives >= 0 && !check_negatives(problem, found, i, counted, score, kind)) {
    return false;
  }
  int64_t allowed = 0;
  double most = -std::numeric_limits<double>::infinity();
  for (size_t j = 0; j < score.size(); ++j) {
    if (kind[j] == 0) continue;
    ++allowed;
    most = std::max(most, score[j]);
  }
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
                                              found.allowed.data(), found.negatives.data()};
  crosscam::memory_infonce(p, found.loss.data(), statistics, found.gradient.data());
  bool right = true;
  for (int64_t i = 0; right && i < p.samples.count; ++i) right = check_sample(problem, found, i);
  if (right) return true;
  std::fprintf(stderr, "N=%lld K=%lld D=%lld labels=%d cameras=%d rules=%d,%d hard=%lld level=%s\n",
               static_cast<long long>(p.samples.count), static_cast<long long>(p.bank.count),
               static_cast<long long>(p.samples.dim), p.bank.labels != nullptr ? 1 : 0,
               p.bank.cameras != nullptr ? 1 : 0, static_cast<int>(p.candidates),
               static_cast<int>(p.positives), static_cast<long long>(p.hard_negatives),
               crosscam::simd_name(p.simd));
  return false;
}
