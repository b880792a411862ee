// Vectors of AVX-512 (F, BW, VL, DQ): 16 lanes, for the files of that level.
#include <immintrin.h>

#include "simd_kernels.h"

namespace crosscam::CROSSCAM_ISA {
namespace {

using V = __m512;
constexpr int kLanes = 16;
constexpr int kMaxVectors = 4;
constexpr int kTileRows[4] = {12, 12, 8, 6};  // keeps up to 24 of the 32 registers accumulating

inline V zero() { return _mm512_setzero_ps(); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline V broadcast(float x) { return _mm512_set1_ps(x); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline void store(float* p, V a) { _mm512_storeu_ps(p, a); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V maximum(V a, V b) { return _mm512_max_ps(a, b); }
inline V minimum(V a, V b) { return _mm512_min_ps(a, b); }
/// Lane i of a where bit i is set, else of b.
inline V select(uint32_t bits, V a, V b) {
  return _mm512_mask_blend_ps(static_cast<__mmask16>(bits), b, a);
}
/// Multiplies x by two to the power of the integer in the low bits of n.
inline V add_to_exponent(V x, V n) {
  const __m512i power = _mm512_slli_epi32(_mm512_castps_si512(n), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), power));
}
/// The sum of all lanes, in an order of its own.
inline float sum_lanes(V a) { return _mm512_reduce_add_ps(a); }
inline uint32_t greater(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }

inline uint64_t time_mask(int64_t time, const int64_t* first, const int64_t* last, int count) {
  const __m512i t = _mm512_set1_epi64(time);
  uint64_t mask = 0;
  for (int q = 0; q < count; q += 8) {
    const __mmask8 after = _mm512_cmple_epi64_mask(_mm512_loadu_si512(first + q), t);
    const __mmask8 in = _mm512_mask_cmpge_epi64_mask(after, _mm512_loadu_si512(last + q), t);
    mask |= static_cast<uint64_t>(in) << q;
  }
  return mask;
}

}  // namespace
}  // namespace crosscam::CROSSCAM_ISA
