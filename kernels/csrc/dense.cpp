#include "dense.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "simd_kernels.h"

namespace crosscam {
namespace {

constexpr size_t kAlign = 16;  // floats: one cache line
constexpr int64_t kPackStep = 16;

}  // namespace

PackedRows::PackedRows(SimdLevel simd, int64_t capacity, int64_t dim)
    : simd_(simd), lanes_(topk_kernels(simd).lanes), dim_(dim) {
  block_ = int64_t{lanes_} * topk_kernels(simd).max_vectors;
  const int64_t padded = (capacity + lanes_ - 1) / lanes_ * lanes_;
  storage_.resize(static_cast<size_t>(padded * dim_) + kAlign);
  constexpr size_t line = kAlign * sizeof(float);
  const auto past = reinterpret_cast<uintptr_t>(storage_.data()) % line;
  data_ = storage_.data() + (line - past) % line / sizeof(float);
}

int PackedRows::vectors(int64_t block) const {
  const int64_t rows = std::min(block_, count_ - block * block_);
  return static_cast<int>((rows + lanes_ - 1) / lanes_);
}

void PackedRows::pack(const DenseRows& rows) {
  resize(rows.count);
  for (int64_t block = 0; block < blocks(); ++block) pack_block(rows, block);
}

void PackedRows::pack_block(const DenseRows& rows, int64_t block) {
  const int64_t first = block * block_;
  const int64_t used = std::min(block_, count_ - first);
  const int64_t width = int64_t{vectors(block)} * lanes_;
  float* const to = data_ + first * dim_;
  // A few columns of all rows at a time: both sides stay in the first-level cache.
  for (int64_t begin = 0; begin < dim_; begin += kPackStep) {
    const int64_t end = std::min(begin + kPackStep, dim_);
    for (int64_t r = 0; r < used; ++r) {
      const float* const from = rows.data + (first + r) * rows.stride;
      for (int64_t d = begin; d < end; ++d) to[d * width + r] = from[d];
    }
    for (int64_t d = begin; d < end; ++d) {
      std::fill(to + d * width + used, to + (d + 1) * width, 0.0f);
    }
  }
}

void dense_products(const DenseRows& x, const PackedRows& y, int64_t block, float* out,
                    int64_t out_stride) {
  const TopkKernels& kernels = topk_kernels(y.simd_);
  const int vectors = y.vectors(block);
  const int64_t width = int64_t{vectors} * kernels.lanes;
  const int64_t used = std::min(y.block_, y.count_ - block * y.block_);
  const int height = kernels.tile_rows[vectors - 1];
  alignas(64) float products[kMaxTileRows * kMaxQueryBlock];
  alignas(64) float never[kMaxQueryBlock];  // the tile also compares; here nothing is greater
  std::fill_n(never, width, std::numeric_limits<float>::infinity());
  uint64_t hits[kMaxTileRows];
  const void* rows[2 * kMaxTileRows];  // of this tile and of the one after it
  TopkTile tile{};
  tile.rows = rows;
  tile.next = rows + height;
  tile.queries = y.data(block);
  tile.words = y.dim_;
  tile.threshold = never;
  tile.similarity = products;
  tile.hits = hits;
  for (int64_t at = 0; at < x.count; at += height) {
    for (int64_t r = 0; r < 2 * height; ++r) {
      rows[r] = x.data + std::min(at + r, x.count - 1) * x.stride;
    }
    kernels.tile[vectors - 1](tile);
    const int64_t present = std::min<int64_t>(height, x.count - at);
    for (int64_t r = 0; r < present; ++r) {
      std::memcpy(out + (at + r) * out_stride, products + r * width,
                  static_cast<size_t>(used) * sizeof(float));
    }
  }
}

void dense_products(const DenseRows& x, const PackedRows& y, float* out, int64_t out_stride) {
  for (int64_t block = 0; block < y.blocks(); ++block) {
    dense_products(x, y, block, out + block * y.block_rows(), out_stride);
  }
}

void dense_square_norms(const PackedRows& y, int64_t block, float* out) {
  const int vectors = y.vectors(block);
  alignas(64) float norms[kMaxQueryBlock];
  dense_kernels(y.simd_).square_norms(y.data(block), vectors, y.dim_, norms);
  const int64_t used = std::min(y.block_, y.count_ - block * y.block_);
  std::memcpy(out, norms, static_cast<size_t>(used) * sizeof(float));
}

void dense_accumulate(SimdLevel simd, const DenseWeights& p, int64_t rows, const DenseRows& y,
                      int64_t dim, float* out, int64_t out_stride) {
  const DenseKernels& kernels = dense_kernels(simd);
  DenseTile tile{};
  tile.row_stride = p.row_stride;
  tile.column_stride = p.column_stride;
  tile.count = y.count;
  tile.y_stride = y.stride;
  tile.out_stride = out_stride;
  // Bands of the dimension outermost: a band of y (count x width) is read by all rows in turn.
  for (int64_t d = 0; d < dim;) {
    const bool full = dim - d >= kernels.width;
    const int64_t width = full ? kernels.width : std::min<int64_t>(kernels.lanes, dim - d);
    tile.y = y.data + d;
    tile.width = static_cast<int>(width);
    for (int64_t r = 0; r < rows;) {
      const bool tall = rows - r >= kernels.rows;
      tile.weights = p.data + r * p.row_stride;
      tile.out = out + r * out_stride + d;
      (full ? kernels.wide : kernels.narrow)[tall ? 1 : 0](tile);
      r += tall ? kernels.rows : 1;
    }
    d += width;
  }
}

}  // namespace crosscam
