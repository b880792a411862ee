// Few queries against rows as they lie in memory: the lanes of a vector are features, whose sums
// are added at the end, in an order of their own. A row of any element is widened in registers,
// read once, and measured meanwhile, so that a search costs what reading the gallery costs.
//
// The including file says how a register of features is read: `V load_bf16(const uint16_t*)`,
// `V load_fp16(const uint16_t*)` and `V load_int8(const int8_t*)`.

namespace crosscam::CROSSCAM_ISA {

extern const TopkKernels topk_lanes[kElements];

namespace {

constexpr int kLaneQueries = 4;
constexpr int kLaneRows = kMaxVectors == 4 ? 4 : 2;  // (1 + queries) sums of each stay in registers

inline void widen_bf16(const uint16_t* row, int64_t n, float* out) {
  for (int64_t d = 0; d < n; ++d) {
    const uint32_t bits = static_cast<uint32_t>(row[d]) << 16;
    __builtin_memcpy(out + d, &bits, sizeof bits);
  }
}

/// A row's features by kLanes, and the last few followed by zeros.
struct Fp32Row {
  using Value = float;
  static V read(const float* row) { return load(row); }
  static void widen(const float* row, int64_t n, float* out) {
    for (int64_t d = 0; d < n; ++d) out[d] = row[d];
  }
};
struct Bf16Row {
  using Value = uint16_t;
  static V read(const uint16_t* row) { return load_bf16(row); }
  static void widen(const uint16_t* row, int64_t n, float* out) { widen_bf16(row, n, out); }
};
struct Fp16Row {
  using Value = uint16_t;
  static V read(const uint16_t* row) { return load_fp16(row); }
  static void widen(const uint16_t* row, int64_t n, float* out) { widen_fp16(row, n, out); }
};
struct Int8Row {
  using Value = int8_t;
  static V read(const int8_t* row) { return load_int8(row); }
  static void widen(const int8_t* row, int64_t n, float* out) {
    for (int64_t d = 0; d < n; ++d) out[d] = static_cast<float>(row[d]);
  }
};

/// kQueries queries against kLaneRows rows. `job.words` is the number of features.
template <class Row, int kQueries>
void lane_tile(const TopkTile& job) {
  using Value = typename Row::Value;
  constexpr int64_t kLine = 64 / sizeof(Value);
  const float* const queries = static_cast<const float*>(job.queries);
  const Value* row[kLaneRows];
  V norm[kLaneRows], sum[kLaneRows][kQueries];
#pragma GCC unroll 4
  for (int r = 0; r < kLaneRows; ++r) {
    row[r] = static_cast<const Value*>(job.rows[r]);
    norm[r] = zero();
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) sum[r][q] = zero();
  }
  const auto step = [&](const V(&g)[kLaneRows], const float* query, int64_t stride) {
#pragma GCC unroll 4
    for (int r = 0; r < kLaneRows; ++r) norm[r] = fma(g[r], g[r], norm[r]);
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) {
      const V features = load(query + q * stride);
#pragma GCC unroll 4
      for (int r = 0; r < kLaneRows; ++r) sum[r][q] = fma(g[r], features, sum[r][q]);
    }
  };
  int64_t d = 0;
  for (; d + kLanes <= job.words; d += kLanes) {
    V g[kLaneRows];
#pragma GCC unroll 4
    for (int r = 0; r < kLaneRows; ++r) {
      if (d % kLine < kLanes) __builtin_prefetch(static_cast<const Value*>(job.next[r]) + d);
      g[r] = Row::read(row[r] + d);
    }
    step(g, queries + d, job.words);
  }
  if (d < job.words) {
    float last[kQueries][kLanes] = {};
    V g[kLaneRows];
    for (int q = 0; q < kQueries; ++q) {
      for (int64_t i = d; i < job.words; ++i) last[q][i - d] = queries[q * job.words + i];
    }
    for (int r = 0; r < kLaneRows; ++r) {
      float features[kLanes] = {};
      Row::widen(row[r] + d, job.words - d, features);
      g[r] = load(features);
    }
    step(g, last[0], kLanes);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kLaneRows; ++r) {
    const float scale = job.row_scale == nullptr ? 1.0f : job.row_scale[r];
    if (!(sum_lanes(norm[r]) * scale * scale <= job.limit)) *job.beyond = true;
    job.hits[r] = 0;
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) {
      const float similarity = sum_lanes(sum[r][q]) * scale;
      job.similarity[r * kQueries + q] = similarity;
      job.hits[r] |= static_cast<uint64_t>(similarity > job.threshold[q]) << q;
    }
  }
}

inline uint64_t lane_time_mask(int64_t time, const int64_t* first, const int64_t* last, int count) {
  uint64_t mask = 0;
  for (int q = 0; q < count; ++q) {
    mask |= static_cast<uint64_t>(first[q] <= time && time <= last[q]) << q;
  }
  return mask;
}

template <class Row>
constexpr TopkKernels lane_kernels() {
  return {
      1,
      kLaneQueries,
      {kLaneRows, kLaneRows, kLaneRows, kLaneRows},
      {&lane_tile<Row, 1>, &lane_tile<Row, 2>, &lane_tile<Row, 3>, &lane_tile<Row, 4>},
      &lane_time_mask,
  };
}

}  // namespace

constinit const TopkKernels topk_lanes[kElements] = {
    lane_kernels<Fp32Row>(),
    lane_kernels<Bf16Row>(),
    lane_kernels<Fp16Row>(),
    lane_kernels<Int8Row>(),
};

}  // namespace crosscam::CROSSCAM_ISA
