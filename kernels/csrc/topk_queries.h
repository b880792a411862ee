#pragma once

#include <cstdint>
#include <vector>

#include "simd_kernels.h"
#include "topk.h"

namespace crosscam {

/// A kind of word with the kernels that compare it.
struct TopkEngine {
  TopkWord word = TopkWord::kFloatChain;
  const TopkKernels* kernels = nullptr;

  /// 32-bit words of a row of `dim` elements.
  int64_t words(int64_t dim) const;
};

/// How far a query is from what its packed words say.
struct QueryError {
  double norm = 0.0;      ///< Euclidean norm of the query
  double sum = 0.0;       ///< sum of absolute values
  double rounding = 0.0;  ///< Euclidean norm of (query - its packed form)
};

/// The queries, packed for the micro-kernel in blocks of (words, width), the query fastest;
/// for kFloatLanes in blocks of (width, words).
class PackedQueries {
 public:
  PackedQueries(const TopkProblem& problem, const TopkEngine& engine);

  int64_t blocks() const { return (count_ + block_ - 1) / block_; }
  int block() const { return block_; }
  int64_t words() const { return words_; }
  const uint32_t* data(int64_t b) const { return data_ + b * block_ * words_; }
  /// Registers that block `b` fills.
  int vectors(int64_t b) const;
  const int32_t* query_sum(int64_t b) const { return sum_.empty() ? nullptr : &sum_[at(b)]; }
  const float* query_scale(int64_t b) const { return scale_.empty() ? nullptr : &scale_[at(b)]; }
  const QueryError& error(int64_t query) const { return error_[static_cast<size_t>(query)]; }

 private:
  size_t at(int64_t b) const { return static_cast<size_t>(b * block_); }
  /// Writes the words of one query to `out`.
  void convert(const float* from, int64_t query, uint32_t* out);
  void convert_bf16(const float* from, uint32_t* out, QueryError* error) const;
  void convert_int8(const float* from, int64_t query, uint32_t* out, QueryError* error);

  TopkEngine engine_;
  int block_, lanes_;
  int64_t count_, dim_, words_;
  std::vector<uint32_t> storage_;
  uint32_t* data_ = nullptr;
  std::vector<int32_t> sum_;
  std::vector<float> scale_;
  std::vector<QueryError> error_;
};

}  // namespace crosscam
