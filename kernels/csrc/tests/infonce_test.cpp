// The losses against banks on small problems whose answers are computed here in double.
#include <cmath>
#include <random>
#include <vector>

#include "check.h"
#include "instance_memory.h"
#include "memory.h"

namespace {

using crosscam::SimdLevel;

std::vector<float> numbers(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

double product(const float* a, const float* b, int64_t dim) {
  double sum = 0;
  for (int64_t d = 0; d < dim; ++d) sum += static_cast<double>(a[d]) * b[d];
  return sum;
}

bool near(double a, double b) { return std::abs(a - b) < 1e-4 * (1 + std::abs(b)); }

void all_rows(SimdLevel simd, int64_t n, int64_t k, int64_t dim, int threads) {
  const auto x = numbers(static_cast<size_t>(n * dim), 1);
  const auto bank = numbers(static_cast<size_t>(k * dim), 2);
  std::vector<int64_t> targets(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) targets[static_cast<size_t>(i)] = i % 5 == 4 ? -1 : i * 7 % k;
  crosscam::MemoryProblem problem;
  problem.samples = {x.data(), n, dim, dim, targets.data(), nullptr};
  problem.bank = {bank.data(), k, dim, nullptr, nullptr};
  problem.temperature = 0.5f;
  problem.threads = threads;
  problem.simd = simd;
  std::vector<float> loss(static_cast<size_t>(n), 9.0f), lse(loss);
  std::vector<int64_t> positives(loss.size()), allowed(loss.size());
  std::vector<float> gradient(x.size(), 9.0f);
  const crosscam::MemoryStatistics statistics{lse.data(), positives.data(), allowed.data(),
                                              nullptr};
  crosscam::memory_infonce(problem, loss.data(), statistics, nullptr);
  const std::vector<float> alone = loss;
  crosscam::memory_infonce(problem, loss.data(), statistics, gradient.data());
  CHECK(loss == alone);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t target = targets[static_cast<size_t>(i)];
    std::vector<double> wanted(static_cast<size_t>(dim), 0.0);
    double value = 0;
    if (target >= 0) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j)
        sum += std::exp(2 * product(&x[i * dim], &bank[j * dim], dim));
      value = std::log(sum) - 2 * product(&x[i * dim], &bank[target * dim], dim);
      for (int64_t j = 0; j < k; ++j) {
        const double p = std::exp(2 * product(&x[i * dim], &bank[j * dim], dim)) / sum;
        for (int64_t d = 0; d < dim; ++d) {
          wanted[static_cast<size_t>(d)] += 2 * (p - (j == target)) * bank[j * dim + d];
        }
      }
    }
    CHECK(near(loss[static_cast<size_t>(i)], value));
    for (int64_t d = 0; d < dim; ++d) {
      CHECK(near(gradient[i * dim + d], wanted[static_cast<size_t>(d)]));
    }
  }
}

void hardest_instances(SimdLevel simd) {
  // Two classes of camera 4 and one of camera 5 that would dominate; the last slot is empty.
  const std::vector<float> x = {1, 0};
  const std::vector<float> bank = {0.9f, 0, 0.5f, 0, 9, 0, 0.1f, 0, 0.3f,
                                   0,    9, 0,    1, 0, 1, 0,    9, 0};
  const std::vector<uint8_t> filled = {1, 1, 0, 1, 1, 0, 1, 1, 0};
  const std::vector<int32_t> class_cameras = {4, 4, 5}, cameras = {4};
  const std::vector<int64_t> targets = {0};
  crosscam::InstanceProblem problem;
  problem.samples = {x.data(), 1, 2, 2, targets.data(), cameras.data()};
  problem.bank = {bank.data(), 3, 3, 2, filled.data(), class_cameras.data()};
  problem.simd = simd;
  float loss = 9, lse = 9, gradient[2] = {9, 9};
  uint8_t counted = 0;
  crosscam::instance_infonce(problem, &loss, &lse, &counted, gradient);
  const double p = std::exp(0.3) / (std::exp(0.3) + std::exp(0.5));
  CHECK(counted == 1);
  CHECK(near(loss, -std::log(1 - p)));
  CHECK(near(gradient[0], p * (0.3 - 0.5)));
  CHECK(gradient[1] == 0);
}

/// Every instruction set gives the same bits.
void update_keeps_rows_of_unit_norm(SimdLevel simd) {
  std::vector<float> bank = numbers(7 * 33, 3), plain = bank;
  const auto x = numbers(40 * 33, 4);
  std::vector<int64_t> targets(40);
  for (size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<int64_t>(i % 8) - 1;
  crosscam::MemoryUpdate update;
  update.count = 7;
  update.stride = 33;
  update.samples = {x.data(), 40, 33, 33, targets.data(), nullptr};
  update.momentum = 0.2;
  for (const auto mode : {crosscam::UpdateMode::kMomentum, crosscam::UpdateMode::kHardest,
                          crosscam::UpdateMode::kMean}) {
    update.mode = mode;
    update.rows = bank.data();
    update.simd = simd;
    crosscam::update_memory(update);
    update.rows = plain.data();
    update.simd = SimdLevel::kScalar;
    crosscam::update_memory(update);
    CHECK(bank == plain);
    for (int j = 0; j < 7; ++j) {
      const float* const row = &bank[static_cast<size_t>(j) * 33];
      CHECK(std::abs(product(row, row, 33) - 1) < 1e-5);
    }
  }
}

}  // namespace

int main() {
  for (const SimdLevel simd : crosscam::simd_levels()) {
    all_rows(simd, 1, 1, 1, 1);
    all_rows(simd, 70, 200, 33, 1);
    all_rows(simd, 9, 1700, 5, 3);
    hardest_instances(simd);
    update_keeps_rows_of_unit_norm(simd);
  }
  return 0;
}
