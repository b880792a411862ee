// AVX512-BF16: first pass of similarity_topk on rows rounded to bfloat16.
#define CROSSCAM_ISA avx512bf16
#include "simd_avx512.inl"
#include "topk_tile.inl"

namespace crosscam::avx512bf16 {

extern const TopkKernels topk_bf16;
extern const NarrowKernels topk_narrow;

namespace {

struct Bf16Pair {
  using Acc = V;
  using Query = __m512bh;
  static V start(const TopkTile&, int) { return zero(); }
  static Query load(const uint32_t* q) { return cast(_mm512_loadu_si512(q)); }
  static Query broadcast(const uint32_t* row) {
    int word;
    __builtin_memcpy(&word, row, sizeof word);
    return cast(_mm512_set1_epi32(word));
  }
  static V step(Query g, Query q, V sum) { return _mm512_dpbf16_ps(sum, g, q); }
  static V finish(V sum, const TopkTile&, int, int) { return sum; }

 private:
  static Query cast(__m512i bits) {
    Query out;
    __builtin_memcpy(&out, &bits, sizeof out);
    return out;
  }
};

inline void store_bf16(uint16_t* out, __m256bh values) {
  __builtin_memcpy(out, &values, sizeof values);
}

/// Rounds the values that `load(d, mask)` gives; see NarrowKernels.
template <class Load>
inline float narrow(int64_t n, uint16_t* out, Load load) {
  V sum = zero();
  int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) {
    const V x = load(d, __mmask16{0xFFFF});
    sum = fma(x, x, sum);
    if (out != nullptr) store_bf16(out + d, _mm512_cvtneps_pbh(x));
  }
  if (d < n) {
    const V x = load(d, static_cast<__mmask16>((1U << (n - d)) - 1));
    sum = fma(x, x, sum);
    if (out != nullptr) {
      uint16_t last[kLanes];
      store_bf16(last, _mm512_cvtneps_pbh(x));
      for (int i = 0; d + i < n + n % 2; ++i) out[d + i] = last[i];
    }
  }
  return _mm512_reduce_add_ps(sum);
}

float narrow_fp32(const float* row, int64_t n, uint16_t* out) {
  return narrow(n, out,
                [row](int64_t d, __mmask16 some) { return _mm512_maskz_loadu_ps(some, row + d); });
}

float narrow_fp16(const uint16_t* row, int64_t n, uint16_t* out) {
  return narrow(n, out, [row](int64_t d, __mmask16 some) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, row + d));
  });
}

float norm_bf16(const uint16_t* row, int64_t n) {
  return narrow(n, nullptr, [row](int64_t d, __mmask16 some) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, row + d));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  });
}

}  // namespace

constinit const TopkKernels topk_bf16 = kernels_for<Bf16Pair>();
constinit const NarrowKernels topk_narrow = {&narrow_fp32, &narrow_fp16, &norm_bf16};

}  // namespace crosscam::avx512bf16
