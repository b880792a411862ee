// The micro-kernel of dense_accumulate, written once over the vector type V of the including file.
//
// Vector lanes run along the feature dimension, so neither side is packed. Each element of the
// result is one chain of fused multiply-adds over the rows of y.

namespace crosscam::CROSSCAM_ISA {

extern const DenseKernels dense;

namespace {

constexpr int kDenseRows = 4;  // with kMaxVectors registers each, enough chains to hide the latency

/// Loads `count` <= kLanes floats; the rest of the register is zero.
inline V load_first(const float* p, int count) {
  if (count == kLanes) return load(p);
  float all[kLanes] = {};
  for (int i = 0; i < count; ++i) all[i] = p[i];
  return load(all);
}

inline void store_first(float* p, V value, int count) {
  if (count == kLanes) return store(p, value);
  float all[kLanes];
  store(all, value);
  for (int i = 0; i < count; ++i) p[i] = all[i];
}

/// kRows rows of kMaxVectors full registers.
template <int kRows>
void accumulate_wide(const DenseTile& job) {
  V sum[kRows][kMaxVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kMaxVectors; ++v) {
      sum[r][v] = load(job.out + r * job.out_stride + v * kLanes);
    }
  }
  for (int64_t c = 0; c < job.count; ++c) {
    const float* const y = job.y + c * job.y_stride;
    const float* const weight = job.weights + c * job.column_stride;
    V row[kMaxVectors];
    for (int v = 0; v < kMaxVectors; ++v) row[v] = load(y + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const V w = broadcast(weight[r * job.row_stride]);
      for (int v = 0; v < kMaxVectors; ++v) sum[r][v] = fma(w, row[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kMaxVectors; ++v) {
      store(job.out + r * job.out_stride + v * kLanes, sum[r][v]);
    }
  }
}

/// kRows rows of one register, of which job.width lanes are in use.
template <int kRows>
void accumulate_narrow(const DenseTile& job) {
  V sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = load_first(job.out + r * job.out_stride, job.width);
  for (int64_t c = 0; c < job.count; ++c) {
    const V row = load_first(job.y + c * job.y_stride, job.width);
    const float* const weight = job.weights + c * job.column_stride;
    for (int r = 0; r < kRows; ++r) {
      sum[r] = fma(broadcast(weight[r * job.row_stride]), row, sum[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) store_first(job.out + r * job.out_stride, sum[r], job.width);
}

/// Square norms of a packed block of rows: the chain of a product of a row with itself.
void square_norms(const float* packed, int vectors, int64_t dim, float* out) {
  V sum[kMaxVectors];
  for (int v = 0; v < vectors; ++v) sum[v] = zero();
  for (int64_t d = 0; d < dim; ++d) {
    for (int v = 0; v < vectors; ++v) {
      const V row = load(packed + (d * vectors + v) * kLanes);
      sum[v] = fma(row, row, sum[v]);
    }
  }
  for (int v = 0; v < vectors; ++v) store(out + v * kLanes, sum[v]);
}

}  // namespace

constinit const DenseKernels dense = {
    kLanes,
    kLanes * kMaxVectors,
    kDenseRows,
    {&accumulate_wide<1>, &accumulate_wide<kDenseRows>},
    {&accumulate_narrow<1>, &accumulate_narrow<kDenseRows>},
    &square_norms,
};

}  // namespace crosscam::CROSSCAM_ISA
