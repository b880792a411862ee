// AVX2 with FMA: 8 lanes. See simd_kernels.h for what may be included here.
#define CROSSCAM_ISA avx2
#include "simd_avx2.inl"

#include "infonce_kernels.h"

namespace crosscam::avx2 {
namespace {

constexpr int kPixelBytes = 8;  // bytes that load_pixels reads for its two pixels

inline float fma1(float a, float b, float c) {
  return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}

/// n values of IEEE half precision, exactly.
inline void widen_fp16(const uint16_t* row, int64_t n, float* out) {
  int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + d));
    _mm256_storeu_ps(out + d, _mm256_cvtph_ps(half));
  }
  for (; d < n; ++d) out[d] = _cvtsh_ss(row[d]);
}

inline V load_bf16(const uint16_t* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
inline V load_fp16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline V load_int8(const int8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

inline Quad quad_broadcast(const uint32_t* row) {
  int word;
  __builtin_memcpy(&word, row, sizeof word);
  return quad(_mm256_set1_epi32(word));
}
inline Quad quad_start(const int32_t*) { return Quad{}; }
/// The first factor of vpmaddubsw must be unsigned: |g| * (q with the sign of g). Two products fit
/// 16 bits because no query value is -128.
inline Quad quad_step(Quad g, Quad q, Quad sum) {
  const __m256i row = bits(g);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(bits(q), row));
  return sum + quad(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/// Two pixels of three bytes to [pixel][channel] floats; the fourth channel is zero.
inline V load_pixels(const uint8_t* p) {
  const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_shuffle_epi8(bytes, spread)));
}

/// The same of pixels of four bytes; reads eight.
inline V load_pixels4(const uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

/// To binary16, to nearest, ties to even.
inline void store_half(uint16_t* p, V a) {
  const __m128i half = _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), half);
}

inline void store_int8(int8_t* p, V a, float scale, int32_t zero_point) {
  const V limit = _mm256_set1_ps(1024.0f);  // beyond what saturates, within what converts
  const V scaled = _mm256_min_ps(_mm256_div_ps(a, _mm256_set1_ps(scale)), limit);
  const __m256i rounded = _mm256_cvtps_epi32(_mm256_max_ps(scaled, _mm256_sub_ps(zero(), limit)));
  const __m256i shifted = _mm256_add_epi32(rounded, _mm256_set1_epi32(zero_point));
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}

/// v[row] holds blocks (of four floats) of two pixels; afterwards v[pixel] holds two rows.
inline void transpose_blocks(V* v) {
  const V a = v[0], b = v[1];
  v[0] = _mm256_permute2f128_ps(a, b, 0x20);
  v[1] = _mm256_permute2f128_ps(a, b, 0x31);
}

/// Transposes the four by four floats made by block b of each vector, for every b.
inline void transpose_lanes(V* v) {
  const V a = _mm256_unpacklo_ps(v[0], v[1]), b = _mm256_unpackhi_ps(v[0], v[1]);
  const V c = _mm256_unpacklo_ps(v[2], v[3]), d = _mm256_unpackhi_ps(v[2], v[3]);
  v[0] = _mm256_shuffle_ps(a, c, 0x44);
  v[1] = _mm256_shuffle_ps(a, c, 0xEE);
  v[2] = _mm256_shuffle_ps(b, d, 0x44);
  v[3] = _mm256_shuffle_ps(b, d, 0xEE);
}

}  // namespace
}  // namespace crosscam::avx2

#include "crop_rows.inl"
#include "dense_tile.inl"
#include "hardest_tile.inl"
#include "infonce_tile.inl"
#include "memory_row.inl"
#include "normalise_row.inl"
#include "topk_float.inl"
#include "topk_int8.inl"
