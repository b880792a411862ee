// Steps of one row of a memory bank for the instruction set CROSSCAM_ISA, in blocks of 16 elements
// (vector types of GCC and Clang). No operation depends on kLanes: every level gives the same bits,
// those of a loop in float32 whose norm is summed in float64.

namespace crosscam::CROSSCAM_ISA {

extern const MemoryRowKernels memory_row;

namespace {

constexpr int kRowBlock = 16;          // partial sums of an inner product
constexpr int kRowLanes = kLanes / 2;  // numbers in float64 that fill a register
constexpr int kRowParts = kRowBlock / kRowLanes;
typedef float RowFloats __attribute__((vector_size(4 * kRowLanes)));
typedef double RowDoubles __attribute__((vector_size(8 * kRowLanes)));

/// Partial sums of products in float64: element d goes to sum d % kRowBlock.
struct RowSums {
  RowDoubles part[kRowParts] = {};

  void add(const RowFloats& a, const RowFloats& b, int i) {
    part[i] += __builtin_convertvector(a, RowDoubles) * __builtin_convertvector(b, RowDoubles);
  }
  double total() const {
    double value[kRowBlock];
    __builtin_memcpy(value, part, sizeof(value));
    double sum = value[0];
    for (int i = 1; i < kRowBlock; ++i) sum += value[i];
    return sum;
  }
};

inline void read(RowFloats& to, const float* from) { __builtin_memcpy(&to, from, sizeof(to)); }

/// One block of `row_blend`.
inline void blend_block(float* row, const float* x, float keep, float take, RowSums& squares) {
  for (int i = 0; i < kRowParts; ++i) {
    RowFloats kept, taken;
    read(kept, row + i * kRowLanes);
    read(taken, x + i * kRowLanes);
    kept *= keep;
    taken *= take;
    const RowFloats moved = kept + taken;
    squares.add(moved, moved, i);
    __builtin_memcpy(row + i * kRowLanes, &moved, sizeof(moved));
  }
}

double row_blend(float* row, const float* x, int64_t dim, float keep, float take) {
  RowSums squares;
  int64_t d = 0;
  for (; d + kRowBlock <= dim; d += kRowBlock) blend_block(row + d, x + d, keep, take, squares);
  if (d < dim) {
    const auto bytes = static_cast<size_t>(dim - d) * sizeof(float);
    float last[kRowBlock] = {}, last_x[kRowBlock] = {};
    __builtin_memcpy(last, row + d, bytes);
    __builtin_memcpy(last_x, x + d, bytes);
    blend_block(last, last_x, keep, take, squares);
    __builtin_memcpy(row + d, last, bytes);
  }
  return squares.total();
}

inline void product_block(const float* a, const float* b, RowSums& sums) {
  for (int i = 0; i < kRowParts; ++i) {
    RowFloats first, second;
    read(first, a + i * kRowLanes);
    read(second, b + i * kRowLanes);
    sums.add(first, second, i);
  }
}

double row_product(const float* a, const float* b, int64_t dim) {
  RowSums sums;
  int64_t d = 0;
  for (; d + kRowBlock <= dim; d += kRowBlock) product_block(a + d, b + d, sums);
  if (d < dim) {
    const auto bytes = static_cast<size_t>(dim - d) * sizeof(float);
    float last_a[kRowBlock] = {}, last_b[kRowBlock] = {};
    __builtin_memcpy(last_a, a + d, bytes);
    __builtin_memcpy(last_b, b + d, bytes);
    product_block(last_a, last_b, sums);
  }
  return sums.total();
}

void row_divide(float* row, int64_t dim, float divisor) {
  for (int64_t d = 0; d < dim; ++d) row[d] /= divisor;
}

}  // namespace

constinit const MemoryRowKernels memory_row = {row_product, row_blend, row_divide};

}  // namespace crosscam::CROSSCAM_ISA
