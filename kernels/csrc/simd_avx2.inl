// Vectors of AVX2 with FMA and F16C: 8 lanes, for the files of that level.
#include <immintrin.h>

#include "simd_kernels.h"

namespace crosscam::CROSSCAM_ISA {
namespace {

using V = __m256;
constexpr int kLanes = 8;
constexpr int kMaxVectors = 2;
constexpr int kTileRows[4] = {12, 6, 0, 0};  // 12 of the 16 registers accumulate

inline V zero() { return _mm256_setzero_ps(); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline V broadcast(float x) { return _mm256_set1_ps(x); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline void store(float* p, V a) { _mm256_storeu_ps(p, a); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V maximum(V a, V b) { return _mm256_max_ps(a, b); }
inline V minimum(V a, V b) { return _mm256_min_ps(a, b); }
/// Lane i of a where bit i is set, else of b.
inline V select(uint32_t bits, V a, V b) {
  const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane);
  return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane)));
}
/// Multiplies x by two to the power of the integer in the low bits of n.
inline V add_to_exponent(V x, V n) {
  const __m256i power = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), power));
}
/// The sum of all lanes, in an order of its own.
inline float sum_lanes(V a) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
inline uint32_t greater(V a, V b) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
}

inline uint64_t time_mask(int64_t time, const int64_t* first, const int64_t* last, int count) {
  const __m256i t = _mm256_set1_epi64x(time);
  uint64_t mask = 0;
  for (int q = 0; q < count; q += 4) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first + q));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(last + q));
    const __m256i out = _mm256_or_si256(_mm256_cmpgt_epi64(a, t), _mm256_cmpgt_epi64(t, b));
    const int outside = _mm256_movemask_pd(_mm256_castsi256_pd(out));
    mask |= static_cast<uint64_t>(~outside & 0xF) << q;
  }
  return mask;
}

/// Sums as vectors of int: GCC 12 keeps arrays of __m256i, whose elements are long, in memory.
using Quad = __v8si;
inline __m256i bits(Quad a) { return reinterpret_cast<__m256i>(a); }
inline Quad quad(__m256i a) { return reinterpret_cast<Quad>(a); }

inline Quad quad_load(const uint32_t* q) {
  return quad(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)));
}
inline V quad_float(Quad sum) { return _mm256_cvtepi32_ps(bits(sum)); }

}  // namespace
}  // namespace crosscam::CROSSCAM_ISA
