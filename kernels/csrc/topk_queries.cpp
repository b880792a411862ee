#include "topk_queries.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace crosscam {
namespace {

constexpr size_t kLine = 16;  // words per cache line

/// Round to nearest, ties to even; NaN stays NaN.
uint16_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float from_bf16(uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

}  // namespace

int64_t TopkEngine::words(int64_t dim) const {
  if (word == TopkWord::kBf16Pair) return (dim + 1) / 2;
  if (word == TopkWord::kInt8Quad) return (dim + 3) / 4;
  return dim;
}

PackedQueries::PackedQueries(const TopkProblem& problem, const TopkEngine& engine)
    : engine_(engine),
      block_(engine.kernels->lanes * engine.kernels->max_vectors),
      lanes_(engine.kernels->lanes),
      count_(problem.query_count),
      dim_(problem.dim),
      words_(engine.words(problem.dim)),
      error_(static_cast<size_t>(problem.query_count)) {
  const int64_t padded = (count_ + lanes_ - 1) / lanes_ * lanes_;
  storage_.assign(static_cast<size_t>(padded * words_) + kLine, 0);
  const size_t past = reinterpret_cast<uintptr_t>(storage_.data()) / sizeof(uint32_t) % kLine;
  data_ = storage_.data() + (kLine - past) % kLine;
  if (engine_.word == TopkWord::kInt8Quad) {
    sum_.assign(static_cast<size_t>(blocks() * block_), 0);
    scale_.assign(static_cast<size_t>(blocks() * block_), 0.0f);
  }
  std::vector<uint32_t> line(static_cast<size_t>(words_));
  for (int64_t query = 0; query < count_; ++query) {
    const int64_t b = query / block_, q = query % block_;
    uint32_t* const to = data_ + b * block_ * words_;
    const float* const from = problem.queries + query * problem.query_stride;
    if (engine_.word == TopkWord::kFloatLanes) {
      convert(from, query, to + q * words_);
      continue;
    }
    convert(from, query, line.data());
    const int64_t width = static_cast<int64_t>(vectors(b)) * lanes_;
    for (int64_t w = 0; w < words_; ++w) to[w * width + q] = line[static_cast<size_t>(w)];
  }
}

int PackedQueries::vectors(int64_t b) const {
  return static_cast<int>((std::min<int64_t>(block_, count_ - b * block_) + lanes_ - 1) / lanes_);
}

void PackedQueries::convert(const float* from, int64_t query, uint32_t* out) {
  QueryError& error = error_[static_cast<size_t>(query)];
  for (int64_t d = 0; d < dim_; ++d) {
    error.norm += static_cast<double>(from[d]) * from[d];
    error.sum += std::abs(static_cast<double>(from[d]));
  }
  error.norm = std::sqrt(error.norm);
  switch (engine_.word) {
    case TopkWord::kFloatChain:
    case TopkWord::kFloatLanes:
      for (int64_t d = 0; d < dim_; ++d) out[d] = std::bit_cast<uint32_t>(from[d]);
      break;
    case TopkWord::kBf16Pair:
      convert_bf16(from, out, &error);
      break;
    case TopkWord::kInt8Quad:
      convert_int8(from, query, out, &error);
      break;
  }
  error.rounding = std::sqrt(error.rounding);
}

void PackedQueries::convert_bf16(const float* from, uint32_t* out, QueryError* error) const {
  std::fill_n(out, words_, 0);
  for (int64_t d = 0; d < dim_; ++d) {
    const uint16_t rounded = to_bf16(from[d]);
    out[d / 2] |= static_cast<uint32_t>(rounded) << (16 * (d % 2));
    const double rest = static_cast<double>(from[d]) - from_bf16(rounded);
    error->rounding += rest * rest;
  }
}

/// The same rounding as crosscam_kernels.quantise_rows.
void PackedQueries::convert_int8(const float* from, int64_t query, uint32_t* out,
                                 QueryError* error) {
  float largest = 0.0f;
  bool finite = true;
  for (int64_t d = 0; d < dim_; ++d) {
    finite = finite && std::isfinite(from[d]);
    largest = std::max(largest, std::abs(from[d]));
  }
  const float scale = finite ? largest / 127.0f : std::numeric_limits<float>::quiet_NaN();
  const bool empty = !(scale > 0.0f);
  std::fill_n(out, words_, 0);
  for (int64_t d = 0; d < dim_; ++d) {
    const float rounded = empty ? 0.0f : std::nearbyint(from[d] / scale);
    const int value = static_cast<int>(std::clamp(rounded, -127.0f, 127.0f));
    out[d / 4] |= static_cast<uint32_t>(static_cast<uint8_t>(value)) << (8 * (d % 4));
    sum_[static_cast<size_t>(query)] += value;
    const double rest = static_cast<double>(from[d]) - static_cast<double>(scale) * value;
    error->rounding += rest * rest;
  }
  scale_[static_cast<size_t>(query)] = scale;
}

}  // namespace crosscam
