// fp32 parts of similarity_topk over the vector type V: the chain of one fused multiply-add per
// feature that defines a similarity, sums over lanes for few queries, and work on single rows.

#include "topk_tile.inl"

namespace crosscam::CROSSCAM_ISA {

extern const TopkKernels topk_chain;
extern const TopkKernels topk_lanes;
extern const RowKernels topk_rows;

namespace {

struct FloatChain {
  using Acc = V;
  using Query = V;
  static V start(const TopkTile&, int) { return zero(); }
  static V load(const uint32_t* q) { return isa_load(q); }
  static V broadcast(const uint32_t* row) {
    return CROSSCAM_ISA::broadcast(*reinterpret_cast<const float*>(row));
  }
  static V step(const V& g, const V& q, const V& sum) { return fma(g, q, sum); }
  static V finish(const V& sum, const TopkTile&, int, int) { return sum; }

 private:
  static V isa_load(const uint32_t* q) {
    return CROSSCAM_ISA::load(reinterpret_cast<const float*>(q));
  }
};

/// Sums over kSums registers at a time, whatever the order: memory is the limit here, not arithmetic.
inline float dot(const float* a, const float* b, int64_t n) {
  constexpr int kSums = 4;
  V sum[kSums] = {zero(), zero(), zero(), zero()};
  int64_t d = 0;
  for (; d + kSums * kLanes <= n; d += kSums * kLanes) {
    for (int i = 0; i < kSums; ++i) {
      sum[i] = fma(load(a + d + i * kLanes), load(b + d + i * kLanes), sum[i]);
    }
  }
  for (; d + kLanes <= n; d += kLanes) sum[0] = fma(load(a + d), load(b + d), sum[0]);
  float lanes[kSums * kLanes];
  for (int i = 0; i < kSums; ++i) store(lanes + i * kLanes, sum[i]);
  float total = 0.0f;
  for (; d < n; ++d) total += a[d] * b[d];
  for (int width = kSums * kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return total + lanes[0];
}

constexpr int kLaneTileRows = 4;

/// kQueries queries as they lie in memory against kLaneTileRows rows.
template <int kQueries>
void lane_tile(const TopkTile& job) {
  const float* const queries = static_cast<const float*>(job.queries);
  for (int r = 0; r < kLaneTileRows; ++r) {
    const float* const row = static_cast<const float*>(job.rows[r]);
    job.hits[r] = 0;
    for (int q = 0; q < kQueries; ++q) {
      const float similarity = dot(row, queries + q * job.words, job.words);
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

void widen_bf16(const uint16_t* row, int64_t n, float* out) {
  for (int64_t d = 0; d < n; ++d) {
    const uint32_t bits = static_cast<uint32_t>(row[d]) << 16;
    __builtin_memcpy(out + d, &bits, sizeof bits);
  }
}

float norm_int8(const int8_t* row, int64_t n) {
  constexpr int64_t kPart = 65536;  // 128 * 128 * kPart fits 32 bits
  int64_t total = 0;
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t end = n - begin < kPart ? n : begin + kPart;
    int32_t sum = 0;
    for (int64_t d = begin; d < end; ++d) {
      sum += static_cast<int32_t>(row[d]) * static_cast<int32_t>(row[d]);
    }
    total += sum;
  }
  return static_cast<float>(total);
}

/// kChainRows chains side by side, so that one waits for its sum while the others add.
void chain(const float* const* rows, const float* query, int64_t dim, float* out) {
  float sum[kChainRows] = {};
  for (int64_t d = 0; d < dim; ++d) {
    for (int r = 0; r < kChainRows; ++r) sum[r] = fma1(rows[r][d], query[d], sum[r]);
  }
  for (int r = 0; r < kChainRows; ++r) out[r] = sum[r];
}

}  // namespace

constinit const TopkKernels topk_chain = kernels_for<FloatChain>();
constinit const TopkKernels topk_lanes = {
    1,
    4,
    {kLaneTileRows, kLaneTileRows, kLaneTileRows, kLaneTileRows},
    {&lane_tile<1>, &lane_tile<2>, &lane_tile<3>, &lane_tile<4>},
    &lane_time_mask,
};
constinit const RowKernels topk_rows = {&widen_bf16, &widen_fp16, &dot, &norm_int8, &chain};

}  // namespace crosscam::CROSSCAM_ISA
