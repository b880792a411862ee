#pragma once

// Small fp32 matrix products for operators that look at a matrix tile by tile and never keep it:
// X Y^T into a block that the caller chose, and P Y added to a result. The order of additions is
// part of the contract, so that neither blocks, threads nor instruction sets change a bit.

#include <cstdint>
#include <vector>

#include "cpu_features.h"

namespace crosscam {

/// Feature vectors in memory: row r starts at data + r * stride; its elements are dense.
struct DenseRows {
  const float* data = nullptr;
  int64_t count = 0;
  int64_t stride = 0;  ///< floats

  DenseRows slice(int64_t begin, int64_t rows) const {
    return {data + begin * stride, rows, stride};
  }
};

/// Rows copied into the layout of the micro-kernel: blocks of (dim, width), the row fastest.
///
/// Packing reads each row once; it pays when the rows are compared with 30 or more others. An
/// object may be packed again and again; its memory is kept. Reading it is safe from many threads.
class PackedRows {
 public:
  /// Space for up to `capacity` rows of `dim` floats.
  PackedRows(SimdLevel simd, int64_t capacity, int64_t dim);

  /// Replaces the content. rows.count must not exceed the capacity.
  void pack(const DenseRows& rows);

  /// For packing by several threads: `resize`, then `pack_block` once for each block.
  void resize(int64_t count) { count_ = count; }
  void pack_block(const DenseRows& rows, int64_t block);

  int64_t count() const { return count_; }
  int64_t dim() const { return dim_; }
  /// Rows of a full block, at most 64; only the last block has fewer.
  int64_t block_rows() const { return block_; }
  int64_t blocks() const { return (count_ + block_ - 1) / block_; }

 private:
  friend void dense_products(const DenseRows&, const PackedRows&, int64_t, float*, int64_t);
  friend void dense_square_norms(const PackedRows&, int64_t, float*);

  /// Vector registers that `block` fills.
  int vectors(int64_t block) const;
  const float* data(int64_t block) const { return data_ + block * block_ * dim_; }

  SimdLevel simd_;
  int lanes_;
  int64_t block_, dim_, count_ = 0;
  std::vector<float> storage_;
  float* data_ = nullptr;
};

/// out[r * out_stride + c] = <x_r, y_c> for all rows of `x` and the rows of one block of `y`.
///
/// Each product is `s = fma(x[d], y[d], s)` for d = 0, 1, .. dim - 1 from zero, as in
/// `similarity_topk`: <a, b> and <b, a> have the same bits.
///
/// @param out rows of out_stride >= (rows of the block) floats; nothing beyond the block is
/// written.
void dense_products(const DenseRows& x, const PackedRows& y, int64_t block, float* out,
                    int64_t out_stride);

/// The same for all blocks of `y`: out is (x.count, y.count), row-major.
void dense_products(const DenseRows& x, const PackedRows& y, float* out, int64_t out_stride);

/// out[c] = <y_c, y_c> for the rows of one block of `y`, with the bits that dense_products gives
/// it.
void dense_square_norms(const PackedRows& y, int64_t block, float* out);

/// A matrix of weights in memory: element (r, c) is data[r * row_stride + c * column_stride], so a
/// transposed matrix needs no copy.
struct DenseWeights {
  const float* data = nullptr;
  int64_t row_stride = 0;
  int64_t column_stride = 1;
};

/// out_r += sum over c of p(r, c) y_c for `rows` rows of dim floats.
///
/// Each element is `out = fma(p(r, c), y[c][d], out)` for c = 0, 1, .. y.count - 1: adding two
/// blocks of y one after the other is the same, to the bit, as adding them at once.
void dense_accumulate(SimdLevel simd, const DenseWeights& p, int64_t rows, const DenseRows& y,
                      int64_t dim, float* out, int64_t out_stride);

}  // namespace crosscam
