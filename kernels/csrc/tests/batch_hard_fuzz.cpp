// Random problems for batch_hard and triplet_terms, compared with all pairs one by one.
#include <algorithm>
#include <limits>

#include "batch_hard.h"
#include "fuzz.h"
#include "triplet.h"

namespace {

using crosscam::BatchHardProblem;
using crosscam::Distance;
using crosscam::PairRule;
using crosscam::fuzz::fail;
using crosscam::fuzz::Source;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Vectors of exactly the needed size, so that a sanitizer sees every overrun.
struct Problem {
  std::vector<float> anchors, candidates;
  std::vector<int64_t> label, camera, candidate_label, candidate_camera, self;
  BatchHardProblem p;
};

/// Rows `stride` apart; small integers, whose distances are exact and tie.
std::vector<float> rows(Source& random, int64_t count, int64_t dim, int64_t stride, bool odd) {
  std::vector<float> out(static_cast<size_t>(count == 0 ? 0 : (count - 1) * stride + dim), 999.0f);
  out.reserve(1);  // an address, also without rows
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t d = 0; d < dim; ++d) {
      const bool strange = odd && random.one_in(60);
      out[static_cast<size_t>(r * stride + d)] =
          strange ? random.one_of<float>({std::nanf(""), kInfinity, -kInfinity})
                  : static_cast<float>(random.between(-3, 3));
    }
  }
  return out;
}

void labels(Source& random, int64_t count, std::vector<int64_t>& label,
            std::vector<int64_t>& camera) {
  for (int64_t i = 0; i < count; ++i) {
    label.push_back(random.below(6) * 1'000'000'000'007);
    camera.push_back(random.below(3) - 1);
  }
}

void draw(Source& random, Problem& problem) {
  BatchHardProblem& p = problem.p;
  const int64_t anchors = random.one_in(3) ? random.below(260) : random.below(40);
  const bool own = random.one_in(2), odd = random.one_in(3);
  const int64_t candidates = own ? 0 : random.one_in(3) ? random.below(300) : random.below(40);
  p.dim = random.one_in(3) ? random.between(1, 140) : random.between(1, 20);
  const int64_t stride = p.dim + random.below(4), other = p.dim + random.below(4);
  problem.anchors = rows(random, anchors, p.dim, stride, odd);
  labels(random, anchors, problem.label, problem.camera);
  p.anchors = {problem.anchors.data(), anchors, stride};
  p.anchor_label = problem.label.data();
  if (!own) {
    problem.candidates = rows(random, candidates, p.dim, other, odd);
    labels(random, candidates, problem.candidate_label, problem.candidate_camera);
    p.candidates = {problem.candidates.data(), candidates, other};
    p.candidate_label = problem.candidate_label.data();
    for (int64_t i = 0; i < anchors; ++i) problem.self.push_back(random.below(candidates + 1) - 1);
    if (random.one_in(2)) p.self_index = problem.self.data();
  }
  if (random.one_in(2)) {
    p.anchor_camera = problem.camera.data();
    p.candidate_camera = own ? nullptr : problem.candidate_camera.data();
    p.positives = static_cast<PairRule>(random.below(3));
    p.negatives = static_cast<PairRule>(random.below(3));
  }
  p.distance = random.one_in(2) ? Distance::kSquaredEuclidean : Distance::kEuclidean;
  p.threads = static_cast<int>(random.between(1, 3));
  p.simd = random.one_of(crosscam::simd_levels());
}

struct Pairs {
  explicit Pairs(size_t count)
      : positive(count, 99), negative(count, 99), far(count, -7), near(far) {}
  std::vector<int64_t> positive, negative;
  std::vector<float> far, near;
};

bool follows(PairRule rule, bool same) {
  return rule == PairRule::kAny || same == (rule == PairRule::kSameCamera);
}

/// The hardest pairs of one anchor, by the definition.
bool check_anchor(const Problem& problem, const Pairs& found, int64_t i) {
  const BatchHardProblem& p = problem.p;
  const bool own = p.own_candidates();
  const auto& label = own ? problem.label : problem.candidate_label;
  const auto& camera = own ? problem.camera : problem.candidate_camera;
  const float* const a = p.anchors.data + i * p.anchors.stride;
  int64_t positive = -1, negative = -1;
  float far = -kInfinity, near = kInfinity;
  const auto at = static_cast<size_t>(i);
  for (int64_t j = 0; j < p.compared().count; ++j) {
    if (own ? j == i : p.self_index != nullptr && j == p.self_index[i]) continue;
    const float* const b = p.compared().data + j * p.compared().stride;
    float square = 0.0f;
    for (int64_t d = 0; d < p.dim; ++d) square += (a[d] - b[d]) * (a[d] - b[d]);
    if (!std::isfinite(square)) continue;
    const auto other = static_cast<size_t>(j);
    const bool same = p.anchor_camera == nullptr || problem.camera[at] == camera[other];
    if (problem.label[at] == label[other]) {
      if (follows(p.positives, same) && square > far) far = square, positive = j;
    } else if (follows(p.negatives, same) && square < near) {
      near = square, negative = j;
    }
  }
  if (p.distance == Distance::kEuclidean) {
    if (positive >= 0) far = std::sqrt(std::max(far, crosscam::kLeastSquare));
    if (negative >= 0) near = std::sqrt(std::max(near, crosscam::kLeastSquare));
  }
  if (found.positive[at] != positive) return fail("positive", i, found.positive[at]);
  if (found.negative[at] != negative) return fail("negative", i, found.negative[at]);
  if (found.far[at] != far) return fail("distance of the positive", i, positive);
  return found.near[at] == near || fail("distance of the negative", i, negative);
}

/// The gradient of 2 d_p - 3 d_n of every anchor, in double.
bool check_gradient(const Problem& problem, const Pairs& found) {
  const BatchHardProblem& p = problem.p;
  const auto anchors = static_cast<size_t>(p.anchors.count);
  const auto dim = static_cast<size_t>(p.dim);
  const auto others = p.own_candidates() ? 0 : static_cast<size_t>(p.candidates.count);
  std::vector<float> positive(anchors, 2.0f), negative(anchors, -3.0f);
  for (size_t i = 0; i < anchors; ++i) {  // what does not exist has no weight
    if (found.positive[i] < 0) positive[i] = 0.0f;
    if (found.negative[i] < 0) negative[i] = 0.0f;
  }
  std::vector<float> gradient(anchors * dim, -7.0f), to_others(others * dim, -7.0f);
  crosscam::batch_hard_gradient(
      p, {found.positive.data(), found.negative.data(), found.far.data(), found.near.data()},
      {positive.data(), negative.data()}, gradient.data(),
      p.own_candidates() ? nullptr : to_others.data());
  std::vector<double> want(gradient.size()), want_others(to_others.size());
  auto& of_chosen = p.own_candidates() ? want : want_others;
  for (size_t i = 0; i < anchors; ++i) {
    for (const bool first : {true, false}) {
      const int64_t j = first ? found.positive[i] : found.negative[i];
      if (j < 0) continue;
      const double d = first ? found.far[i] : found.near[i];
      const double weight = first ? positive[i] : negative[i];
      const bool root = p.distance == Distance::kEuclidean;
      if (root && d * d <= crosscam::kLeastSquare * 1.001) continue;  // the root has no gradient
      const double factor = root ? weight / d : 2.0 * weight;
      const float* const a = p.anchors.data + static_cast<int64_t>(i) * p.anchors.stride;
      const float* const b = p.compared().data + j * p.compared().stride;
      for (size_t k = 0; k < dim; ++k) {
        want[i * dim + k] += factor * (a[k] - b[k]);
        of_chosen[static_cast<size_t>(j) * dim + k] -= factor * (a[k] - b[k]);
      }
    }
  }
  for (size_t k = 0; k < want.size(); ++k) {
    if (!(std::abs(gradient[k] - want[k]) <= 1e-4 * (1.0 + std::abs(want[k]))))
      return fail("gradient of an anchor", static_cast<int64_t>(k / dim),
                  static_cast<int64_t>(k % dim));
  }
  for (size_t k = 0; k < want_others.size(); ++k) {
    if (!(std::abs(to_others[k] - want_others[k]) <= 1e-4 * (1.0 + std::abs(want_others[k]))))
      return fail("gradient of a candidate", static_cast<int64_t>(k / dim),
                  static_cast<int64_t>(k % dim));
  }
  return true;
}

bool check_terms(const Pairs& found, crosscam::TripletMargin margin) {
  std::vector<float> loss(found.far.size(), -7.0f), slope(loss);
  crosscam::triplet_terms(found.far.data(), found.near.data(), static_cast<int64_t>(loss.size()),
                          margin, loss.data(), slope.data());
  for (size_t i = 0; i < loss.size(); ++i) {
    const bool both = found.positive[i] >= 0 && found.negative[i] >= 0;
    const double gap = both ? static_cast<double>(found.far[i]) - found.near[i] : 0.0;
    const double hinge = std::max(0.0, gap + margin.margin);
    const double soft = std::max(gap, 0.0) + std::log1p(std::exp(-std::abs(gap)));
    const double want = !both ? 0.0 : margin.soft ? soft : hinge;
    const double steep = margin.soft ? 1.0 / (1.0 + std::exp(-gap)) : hinge > 0.0 ? 1.0 : 0.0;
    if (!(std::abs(loss[i] - want) <= 1e-5 * (1.0 + want)))
      return fail("loss", static_cast<int64_t>(i), 0);
    if (!(std::abs(slope[i] - (both ? steep : 0.0)) <= 1e-5))
      return fail("slope", static_cast<int64_t>(i), 0);
  }
  return true;
}

}  // namespace

bool fuzz_one(Source& random) {
  Problem problem;
  draw(random, problem);
  const BatchHardProblem& p = problem.p;
  Pairs found(static_cast<size_t>(p.anchors.count));
  crosscam::batch_hard(
      p, {found.positive.data(), found.negative.data(), found.far.data(), found.near.data()});
  bool right = true;
  for (int64_t i = 0; right && i < p.anchors.count; ++i) right = check_anchor(problem, found, i);
  const crosscam::TripletMargin margin = {random.one_in(2), 0.25f};
  right = right && check_gradient(problem, found) && check_terms(found, margin);
  if (right) return true;
  std::fprintf(stderr, "N=%lld M=%lld D=%lld own=%d distance=%d level=%s\n",
               static_cast<long long>(p.anchors.count), static_cast<long long>(p.candidates.count),
               static_cast<long long>(p.dim), p.own_candidates() ? 1 : 0,
               static_cast<int>(p.distance), crosscam::simd_name(p.simd));
  return false;
}
