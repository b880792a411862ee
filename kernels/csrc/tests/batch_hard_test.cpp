#include "batch_hard.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "triplet.h"

namespace {

using crosscam::BatchHardProblem;
using crosscam::Distance;
using crosscam::PairRule;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Data {
  std::vector<float> anchors, candidates;
  std::vector<int64_t> label, camera, candidate_label, candidate_camera, self;
};

struct Result {
  std::vector<int64_t> positive_index, negative_index;
  std::vector<float> positive_distance, negative_distance, gradient, candidate_gradient;
  bool operator==(const Result&) const = default;
};

bool follows(PairRule rule, bool same_camera) {
  return rule == PairRule::kAny || same_camera == (rule == PairRule::kSameCamera);
}

/// Runs search and gradient on vectors of exactly the needed size, poisoned.
Result run(const BatchHardProblem& problem) {
  const auto anchors = static_cast<size_t>(problem.anchors.count);
  const auto others = static_cast<size_t>(problem.own_candidates() ? 0 : problem.candidates.count);
  const auto dim = static_cast<size_t>(problem.dim);
  Result result{std::vector<int64_t>(anchors, 99),     std::vector<int64_t>(anchors, 99),
                std::vector<float>(anchors, -7),       std::vector<float>(anchors, -7),
                std::vector<float>(anchors * dim, -7), std::vector<float>(others * dim, -7)};
  crosscam::batch_hard(problem, {result.positive_index.data(), result.negative_index.data(),
                                 result.positive_distance.data(), result.negative_distance.data()});
  std::vector<float> loss(anchors), slope(anchors), opposite(anchors);
  crosscam::triplet_terms(result.positive_distance.data(), result.negative_distance.data(),
                          problem.anchors.count, {true, 0.0f}, loss.data(), slope.data());
  for (size_t i = 0; i < anchors; ++i) opposite[i] = -slope[i];
  crosscam::batch_hard_gradient(problem,
                                {result.positive_index.data(), result.negative_index.data(),
                                 result.positive_distance.data(), result.negative_distance.data()},
                                {slope.data(), opposite.data()}, result.gradient.data(),
                                result.candidate_gradient.data());
  return result;
}

/// Small integers: all sums are exact, and the indices of ties are defined.
void matches_the_definition(int64_t anchors, int64_t candidates, int64_t dim, uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random()) % n; };
  Data data;
  for (int64_t i = 0; i < anchors * dim; ++i) data.anchors.push_back(static_cast<float>(below(5)));
  for (int64_t i = 0; i < anchors; ++i) {
    data.label.push_back(below(6) * 1'000'000'007);
    data.camera.push_back(below(3) - 1);
    data.self.push_back(candidates > 0 ? below(candidates + 1) - 1 : -1);
  }
  const bool own = candidates < 0;
  data.candidates.reserve(1);  // an address, also without rows
  for (int64_t i = 0; i < candidates * dim; ++i) {
    data.candidates.push_back(static_cast<float>(below(5)));
  }
  for (int64_t i = 0; i < candidates; ++i) {
    data.candidate_label.push_back(below(6) * 1'000'000'007);
    data.candidate_camera.push_back(below(3) - 1);
  }
  BatchHardProblem problem;
  problem.anchors = {data.anchors.data(), anchors, dim};
  if (!own) problem.candidates = {data.candidates.data(), candidates, dim};
  problem.dim = dim;
  problem.anchor_label = data.label.data();
  problem.anchor_camera = data.camera.data();
  problem.candidate_label = data.candidate_label.data();
  problem.candidate_camera = data.candidate_camera.data();
  problem.self_index = own ? nullptr : data.self.data();
  const PairRule rules[] = {PairRule::kAny, PairRule::kSameCamera, PairRule::kCrossCamera};
  problem.positives = rules[seed % 3];
  problem.negatives = rules[seed / 3 % 3];
  problem.distance = Distance::kSquaredEuclidean;
  const auto& label = own ? data.label : data.candidate_label;
  const auto& camera = own ? data.camera : data.candidate_camera;
  const auto& rows = own ? data.anchors : data.candidates;
  Result first;
  for (const auto level : crosscam::simd_levels()) {
    for (const int threads : {1, 3}) {
      problem.simd = level;
      problem.threads = threads;
      const Result result = run(problem);
      if (first.positive_index.empty()) first = result;
      CHECK(result == first);  // same bits for any level and number of threads
    }
  }
  for (int64_t i = 0; i < anchors; ++i) {
    const auto at = static_cast<size_t>(i);
    int64_t positive = -1, negative = -1;
    float far = -kInfinity, near = kInfinity;
    for (int64_t j = 0; j < problem.compared().count; ++j) {
      if (j == (own ? i : data.self[at])) continue;
      const auto other = static_cast<size_t>(j);
      const bool same = data.camera[at] == camera[other];
      float square = 0.0f;
      for (int64_t d = 0; d < dim; ++d) {
        const float gap =
            data.anchors[static_cast<size_t>(i * dim + d)] - rows[static_cast<size_t>(j * dim + d)];
        square += gap * gap;
      }
      if (data.label[at] == label[other]) {
        if (follows(problem.positives, same) && square > far) {
          far = square;
          positive = j;
        }
      } else if (follows(problem.negatives, same) && square < near) {
        near = square;
        negative = j;
      }
    }
    CHECK(first.positive_index[at] == positive && first.negative_index[at] == negative);
    CHECK(first.positive_distance[at] == far && first.negative_distance[at] == near);
  }
  for (const float value : first.gradient) CHECK(std::isfinite(value) && value != -7.0f);
  // Moving everything together changes no distance: the gradients add up to zero.
  for (int64_t d = 0; d < dim; ++d) {
    double sum = 0.0, size = 1.0;
    for (const auto* part : {&first.gradient, &first.candidate_gradient}) {
      for (size_t at = static_cast<size_t>(d); at < part->size(); at += static_cast<size_t>(dim)) {
        sum += (*part)[at];
        size += std::abs((*part)[at]);
      }
    }
    CHECK(std::abs(sum) < 1e-5 * size);
  }
}

void triplet_terms_by_hand() {
  const float far[] = {3.0f, 5.0f, -kInfinity, 2.0f, 1.0f};
  const float near[] = {4.0f, 5.0f, 1.0f, kInfinity, 9.0f};
  float loss[5], slope[5];
  crosscam::triplet_terms(far, near, 5, {false, 1.5f}, loss, slope);
  const float losses[] = {0.5f, 1.5f, 0.0f, 0.0f, 0.0f}, slopes[] = {1.0f, 1.0f, 0.0f, 0.0f, 0.0f};
  for (int i = 0; i < 5; ++i) CHECK(loss[i] == losses[i] && slope[i] == slopes[i]);
  using crosscam::Reduction;
  CHECK(crosscam::triplet_scale(far, near, loss, 5, Reduction::kMean) == 1.0f / 3.0f);
  CHECK(crosscam::triplet_scale(far, near, loss, 5, Reduction::kMeanActive) == 0.5f);
  CHECK(crosscam::triplet_scale(far, near, loss, 5, Reduction::kNone) == 1.0f);
  CHECK(crosscam::triplet_scale(far, near, loss, 0, Reduction::kMean) == 0.0f);
  CHECK(crosscam::triplet_sum(loss, 5) == 2.0);
  crosscam::triplet_terms(far, near, 5, {true, 0.0f}, loss, slope);
  CHECK(std::abs(loss[1] - std::log(2.0f)) < 1e-6f && slope[1] == 0.5f);
  CHECK(loss[2] == 0.0f && slope[3] == 0.0f);
}

}  // namespace

int main() {
  uint32_t seed = 0;
  for (const int64_t anchors : {0, 1, 5, 64, 131}) {
    for (const int64_t dim : {1, 17}) {
      for (const int64_t candidates : {-1, -1, -1, 0, 1, 70}) {
        matches_the_definition(anchors, candidates, dim, seed++);
      }
    }
  }
  matches_the_definition(400, -1, 40, 4);  // enough products for several threads
  matches_the_definition(300, 450, 33, 2);
  triplet_terms_by_hand();
  return 0;
}
