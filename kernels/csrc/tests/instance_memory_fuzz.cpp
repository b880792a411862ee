// Random problems for instance_infonce, compared with sums over all classes in double.
#include <algorithm>
#include <limits>

#include "fuzz.h"
#include "instance_memory.h"

namespace {

using crosscam::InstanceProblem;
using crosscam::fuzz::draw_cameras;
using crosscam::fuzz::draw_rows;
using crosscam::fuzz::fail;
using crosscam::fuzz::Source;

struct Problem {
  std::vector<float> features, bank;
  std::vector<int64_t> targets;
  std::vector<uint8_t> filled;
  std::vector<int32_t> cameras, class_cameras;
  bool integers = false;  // products are exact, so that ties are known
  InstanceProblem p;
};

void draw(Source& random, Problem& problem) {
  InstanceProblem& p = problem.p;
  const int64_t samples = random.one_in(4) ? random.below(100) : random.below(20);
  const int64_t classes = random.one_in(4) ? random.below(300) : random.below(30);
  const int64_t slots = random.one_in(4) ? random.below(40) : random.below(6);
  const int64_t dim = random.one_in(8) ? random.between(1, 600) : random.between(1, 24);
  const int64_t stride = dim + random.below(4), other = dim + random.below(4);
  problem.integers = random.one_in(3);
  problem.features = draw_rows(random, samples, dim, stride, problem.integers);
  problem.bank = draw_rows(random, classes * slots, dim, other, problem.integers);
  const int64_t sparse = random.between(1, 4);  // filled: all, half, two thirds, three quarters
  for (int64_t s = 0; s < classes * slots; ++s) {
    problem.filled.push_back(sparse == 1 || !random.one_in(sparse) ? 1 : 0);
  }
  for (int64_t i = 0; i < samples; ++i) {
    problem.targets.push_back(random.below(classes + 1) - 1);
  }
  problem.filled.reserve(1);
  p.samples = {problem.features.data(), samples, stride, dim, problem.targets.data(), nullptr};
  p.bank = {problem.bank.data(), classes, slots, other, problem.filled.data(), nullptr};
  if (random.one_in(2)) {
    problem.class_cameras = draw_cameras(random, classes);
    problem.cameras = draw_cameras(random, samples);
    p.samples.cameras = problem.cameras.data();
    p.bank.cameras = problem.class_cameras.data();
  }
  // Products of integers are larger: with the same temperature the logits' rounding would show.
  p.temperature = (problem.integers ? 1.0f : 0.1f) * static_cast<float>(random.between(1, 10));
  p.threads = static_cast<int>(random.between(1, 3));
  p.simd = random.one_of(crosscam::simd_levels());
}

/// What speaks for a class: the least similar filled slot of the own one, else the most similar.
struct Choice {
  int64_t slot = -1;
  double score = 0.0;
  bool sure = true;  // no other slot is as good but for rounding
};

Choice choose(const Problem& problem, int64_t i, int64_t c, bool own) {
  const InstanceProblem& p = problem.p;
  const float* const x = p.samples.features + i * p.samples.stride;
  Choice best;
  for (int64_t s = 0; s < p.bank.slots; ++s) {
    const int64_t at = c * p.bank.slots + s;
    if (p.bank.filled[at] == 0) continue;
    const float* const row = p.bank.rows + at * p.bank.stride;
    double score = 0.0;
    for (int64_t d = 0; d < p.samples.dim; ++d) score += static_cast<double>(x[d]) * row[d];
    const double lead = own ? best.score - score : score - best.score;
    const bool first = best.slot < 0;
    const bool close = !first && !problem.integers && std::abs(lead) < 1e-5;
    if (first || lead > 0.0) {
      best = {s, score, !close};
    } else if (close) {
      best.sure = false;
    }
  }
  best.score /= p.temperature;
  return best;
}

/// Loss = lse of the classes' scores - the own one; its gradient goes through the chosen slots.
bool check_sample(const Problem& problem, const std::vector<float>& loss,
                  const std::vector<uint8_t>& counted, const std::vector<float>& gradient,
                  int64_t i) {
  const InstanceProblem& p = problem.p;
  const auto at = static_cast<size_t>(i);
  const int64_t target = problem.targets[at], dim = p.samples.dim;
  std::vector<Choice> chosen(static_cast<size_t>(p.bank.classes));
  double most = -std::numeric_limits<double>::infinity();
  bool sure = true;
  for (int64_t c = 0; c < p.bank.classes; ++c) {
    if (p.bank.cameras != nullptr && p.bank.cameras[c] != p.samples.cameras[i]) continue;
    Choice& choice = chosen[static_cast<size_t>(c)];
    choice = choose(problem, i, c, c == target);
    if (choice.slot >= 0) most = std::max(most, choice.score);
    sure = sure && choice.sure;
  }
  const bool want = target >= 0 && chosen[static_cast<size_t>(target)].slot >= 0;
  if ((counted[at] != 0) != want) return fail("counted", i, target);
  double sum = 0.0;
  for (const Choice& choice : chosen) {
    if (choice.slot >= 0) sum += std::exp(choice.score - most);
  }
  const double lse = most + std::log(sum);
  const double value = want ? lse - chosen[static_cast<size_t>(target)].score : 0.0;
  if (!(std::abs(loss[at] - value) <= 2e-4 * (1.0 + std::abs(value)))) {
    return fail("wrong loss", i, target);
  }
  if (!sure) return true;  // which of two slots was taken is a matter of rounding
  const double factor = want ? 1.0 / p.temperature : 0.0;
  std::vector<double> exact(static_cast<size_t>(dim), 0.0);
  for (int64_t c = 0; want && c < p.bank.classes; ++c) {
    const Choice& choice = chosen[static_cast<size_t>(c)];
    if (choice.slot < 0) continue;
    const double share = std::exp(choice.score - lse) - (c == target ? 1.0 : 0.0);
    const float* const row = p.bank.rows + (c * p.bank.slots + choice.slot) * p.bank.stride;
    for (int64_t d = 0; d < dim; ++d) exact[static_cast<size_t>(d)] += factor * share * row[d];
  }
  for (int64_t d = 0; d < dim; ++d) {
    const double one = exact[static_cast<size_t>(d)];
    const float got = gradient[static_cast<size_t>(i * dim + d)];
    if (!(std::abs(got - one) <= 5e-4 * (1.0 + std::abs(one)))) return fail("wrong gradient", i, d);
  }
  return true;
}

}  // namespace

bool fuzz_one(Source& random) {
  Problem problem;
  draw(random, problem);
  const InstanceProblem& p = problem.p;
  const auto samples = static_cast<size_t>(p.samples.count);
  std::vector<float> loss(samples, -7.0f), lse(loss);
  std::vector<uint8_t> counted(samples, 7);
  std::vector<float> gradient(samples * static_cast<size_t>(p.samples.dim), -7.0f);
  crosscam::instance_infonce(p, loss.data(), lse.data(), counted.data(), gradient.data());
  std::vector<float> loss_alone(loss), lse_alone(lse);
  crosscam::instance_infonce(p, loss_alone.data(), lse_alone.data(), counted.data(), nullptr);
  bool right = loss_alone == loss && lse_alone == lse;
  if (!right) fail("another loss without gradients", 0, 0);
  for (int64_t i = 0; right && i < p.samples.count; ++i) {
    right = check_sample(problem, loss, counted, gradient, i);
  }
  if (right) return true;
  std::fprintf(stderr, "N=%lld C=%lld S=%lld D=%lld cameras=%d integers=%d level=%s\n",
               static_cast<long long>(p.samples.count), static_cast<long long>(p.bank.classes),
               static_cast<long long>(p.bank.slots), static_cast<long long>(p.samples.dim),
               p.bank.cameras != nullptr ? 1 : 0, problem.integers ? 1 : 0,
               crosscam::simd_name(p.simd));
  return false;
}
