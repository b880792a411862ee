#include "dense.h"

#include <cmath>
#include <random>
#include <vector>

#include "check.h"

namespace {

using crosscam::DenseRows;
using crosscam::PackedRows;

/// Rows in a vector of exactly the needed size, so that a sanitizer sees every overrun.
std::vector<float> random_rows(int64_t rows, int64_t dim, int64_t stride, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> data;
  if (rows == 0) return data;
  for (int64_t i = 0; i < (rows - 1) * stride + dim; ++i) data.push_back(normal(random));
  return data;
}

constexpr float kPoison = -12345.0f;

void products_are_one_chain_each(int64_t rows, int64_t columns, int64_t dim, uint32_t seed) {
  std::mt19937 random(seed);
  const int64_t stride = dim + 3;
  const auto x = random_rows(rows, dim, stride, random);
  const auto y = random_rows(columns, dim, dim, random);
  const int64_t out_stride = columns + 2;
  for (const auto level : crosscam::simd_levels()) {
    PackedRows packed(level, columns + 5, dim);
    packed.pack({y.data(), columns, dim});
    packed.pack({y.data(), columns, dim});  // the memory is used again
    CHECK(packed.count() == columns && packed.dim() == dim);
    std::vector<float> out(static_cast<size_t>(rows * out_stride), kPoison);
    crosscam::dense_products({x.data(), rows, stride}, packed, out.data(), out_stride);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < out_stride; ++c) {
        float sum = 0.0f;
        for (int64_t d = 0; c < columns && d < dim; ++d) {
          sum = std::fma(x[static_cast<size_t>(r * stride + d)],
                         y[static_cast<size_t>(c * dim + d)], sum);
        }
        CHECK(out[static_cast<size_t>(r * out_stride + c)] == (c < columns ? sum : kPoison));
      }
    }
  }
}

void accumulation_is_one_chain_each(int64_t rows, int64_t columns, int64_t dim, uint32_t seed) {
  std::mt19937 random(seed);
  const int64_t stride = dim + 1;
  const auto y = random_rows(columns, dim, stride, random);
  const auto weights = random_rows(rows, columns, columns, random);
  const auto before = random_rows(rows, stride, stride, random);
  std::vector<float> transposed(weights.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      transposed[static_cast<size_t>(c * rows + r)] = weights[static_cast<size_t>(r * columns + c)];
    }
  }
  std::vector<float> expected = before;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t d = 0; d < dim; ++d) {
      float& sum = expected[static_cast<size_t>(r * stride + d)];
      for (int64_t c = 0; c < columns; ++c) {
        sum = std::fma(weights[static_cast<size_t>(r * columns + c)],
                       y[static_cast<size_t>(c * stride + d)], sum);
      }
    }
  }
  const DenseRows all{y.data(), columns, stride};
  for (const auto level : crosscam::simd_levels()) {
    std::vector<float> out = before;
    crosscam::dense_accumulate(level, {weights.data(), columns, 1}, rows, all, dim, out.data(),
                               stride);
    CHECK(out == expected);
    out = before;  // transposed weights, and y in two blocks
    const int64_t half = columns / 2;
    crosscam::dense_accumulate(level, {transposed.data(), 1, rows}, rows, all.slice(0, half), dim,
                               out.data(), stride);
    crosscam::dense_accumulate(level, {transposed.data() + half * rows, 1, rows}, rows,
                               all.slice(half, columns - half), dim, out.data(), stride);
    CHECK(out == expected);
  }
}

}  // namespace

int main() {
  uint32_t seed = 0;
  for (const int64_t rows : {0, 1, 7, 30}) {
    for (const int64_t columns : {0, 1, 5, 64, 131}) {
      for (const int64_t dim : {1, 15, 64, 83}) {
        products_are_one_chain_each(rows, columns, dim, ++seed);
        accumulation_is_one_chain_each(rows, columns, dim, seed);
      }
    }
  }
  return 0;
}
