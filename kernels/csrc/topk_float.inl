// fp32 parts of similarity_topk over the vector type V: the chain of one fused multiply-add per
// feature that defines a similarity, and work on single rows.

#include "topk_lanes.inl"
#include "topk_tile.inl"

namespace crosscam::CROSSCAM_ISA {

extern const TopkKernels topk_chain;
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

/// Sums over kSums registers at a time, whatever the order: memory is the limit here, not
/// arithmetic.
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
constinit const RowKernels topk_rows = {&widen_bf16, &widen_fp16, &dot, &norm_int8, &chain};

}  // namespace crosscam::CROSSCAM_ISA
