#include "normalise.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"

namespace {

using crosscam::NormaliseProblem;
using crosscam::simd_levels;
using crosscam::SimdLevel;

struct Result {
  std::vector<int8_t> codes;
  std::vector<float> scale;
};

/// Outputs are poisoned, and exactly as large as they must be for the sanitizers to see a step
/// over.
Result run(const std::vector<float>& rows, int64_t count, int64_t dim, int64_t stride,
           SimdLevel level, int threads) {
  Result result{std::vector<int8_t>(static_cast<size_t>(count * dim), 99),
                std::vector<float>(static_cast<size_t>(count), -7.0f)};
  NormaliseProblem problem;
  problem.rows = rows.data();
  problem.count = count;
  problem.dim = dim;
  problem.stride = stride;
  problem.threads = threads;
  problem.simd = level;
  crosscam::normalise_quantise(problem, result.codes.data(), result.scale.data());
  return result;
}

std::vector<float> some_rows(size_t size) {
  std::vector<float> rows(size);
  uint32_t state = 12345;
  for (float& x : rows) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(static_cast<int32_t>(state >> 8) - (1 << 23)) / (1 << 20);
  }
  return rows;
}

void codes_times_scale_are_the_unit_row() {
  for (const SimdLevel level : simd_levels()) {
    for (const int64_t dim : {1, 7, 16, 17, 100, 512}) {
      const int64_t count = 3, stride = dim + 2;
      const auto rows = some_rows(static_cast<size_t>((count - 1) * stride + dim));
      const Result result = run(rows, count, dim, stride, level, 1);
      for (int64_t n = 0; n < count; ++n) {
        double squares = 0.0, largest = 0.0;
        for (int64_t d = 0; d < dim; ++d) {
          const double x = rows[static_cast<size_t>(n * stride + d)];
          squares += x * x;
          largest = std::max(largest, std::abs(x));
        }
        const double norm = std::sqrt(squares);
        const double scale = result.scale[static_cast<size_t>(n)];
        CHECK(std::abs(scale - largest / (127.0 * norm)) <= 1e-6 * scale);
        for (int64_t d = 0; d < dim; ++d) {
          const double unit = rows[static_cast<size_t>(n * stride + d)] / norm;
          const double code = result.codes[static_cast<size_t>(n * dim + d)];
          CHECK(std::abs(code * scale - unit) <= 0.50001 * scale);
        }
      }
    }
  }
}

void levels_and_threads_give_the_same_bits() {
  const int64_t count = 1200, dim = 131;
  const auto rows = some_rows(static_cast<size_t>(count * dim));
  const Result expected = run(rows, count, dim, dim, SimdLevel::kScalar, 1);
  for (const SimdLevel level : simd_levels()) {
    for (const int threads : {1, 3}) {
      const Result found = run(rows, count, dim, dim, level, threads);
      CHECK(found.codes == expected.codes);
      CHECK(found.scale == expected.scale);
    }
  }
}

void rows_without_a_direction() {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const SimdLevel level : simd_levels()) {
    for (const int64_t at : {0, 5, 16, 20}) {  // in a whole block, and in the rest
      std::vector<float> rows(4 * 21, 0.0f);
      rows[static_cast<size_t>(21 + at)] = nan;
      rows[static_cast<size_t>(42 + at)] = -infinity;
      rows[static_cast<size_t>(63 + at)] = std::numeric_limits<float>::denorm_min();
      const Result result = run(rows, 4, 21, 21, level, 1);
      CHECK(result.scale[0] == 0.0f);
      CHECK(std::isnan(result.scale[1]) && std::isnan(result.scale[2]));
      for (size_t i = 0; i < 63; ++i) CHECK(result.codes[i] == 0);
      CHECK(result.codes[static_cast<size_t>(63 + at)] == 127);
      CHECK(std::abs(result.scale[3] - 1.0f / 127.0f) < 1e-9f);
    }
    CHECK(run({}, 0, 8, 8, level, 2).scale.empty());
    CHECK(run({}, 2, 0, 0, level, 2).scale == std::vector<float>(2, 0.0f));
  }
}

}  // namespace

int main() {
  codes_times_scale_are_the_unit_row();
  levels_and_threads_give_the_same_bits();
  rows_without_a_direction();
  return 0;
}
