// AVX-512 (F, BW, VL, DQ): 16 lanes. See simd_kernels.h for what may be included here.
#define CROSSCAM_ISA avx512
#include "simd_avx512.inl"

#include "infonce_kernels.h"

namespace crosscam::avx512 {
namespace {

constexpr int kPixelBytes = 16;  // bytes that load_pixels reads for its four pixels

inline float fma1(float a, float b, float c) {
  return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}

/// n values of IEEE half precision, exactly.
inline void widen_fp16(const uint16_t* row, int64_t n, float* out) {
  for (int64_t d = 0; d < n; d += kLanes) {
    const __mmask16 some = n - d < kLanes ? static_cast<__mmask16>((1U << (n - d)) - 1) : 0xFFFF;
    _mm512_mask_storeu_ps(out + d, some, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, row + d)));
  }
}

inline V load_bf16(const uint16_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline V load_fp16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline V load_int8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

/// Four pixels of three bytes to [pixel][channel] floats; the fourth channel is zero.
inline V load_pixels(const uint8_t* p) {
  const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_shuffle_epi8(bytes, spread)));
}

/// The same of pixels of four bytes; reads sixteen.
inline V load_pixels4(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

/// To binary16, to nearest, ties to even.
inline void store_half(uint16_t* p, V a) {
  const __m256i half = _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
}

inline void store_int8(int8_t* p, V a, float scale, int32_t zero_point) {
  const V limit = _mm512_set1_ps(1024.0f);  // beyond what saturates, within what converts
  const V scaled = _mm512_min_ps(_mm512_div_ps(a, _mm512_set1_ps(scale)), limit);
  const __m512i rounded = _mm512_cvtps_epi32(_mm512_max_ps(scaled, _mm512_sub_ps(zero(), limit)));
  const __m512i shifted = _mm512_add_epi32(rounded, _mm512_set1_epi32(zero_point));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(shifted));
}

/// v[row] holds blocks (of four floats) of four pixels; afterwards v[pixel] holds four rows.
inline void transpose_blocks(V* v) {
  const V a = _mm512_shuffle_f32x4(v[0], v[1], 0x44), b = _mm512_shuffle_f32x4(v[0], v[1], 0xEE);
  const V c = _mm512_shuffle_f32x4(v[2], v[3], 0x44), d = _mm512_shuffle_f32x4(v[2], v[3], 0xEE);
  v[0] = _mm512_shuffle_f32x4(a, c, 0x88);
  v[1] = _mm512_shuffle_f32x4(a, c, 0xDD);
  v[2] = _mm512_shuffle_f32x4(b, d, 0x88);
  v[3] = _mm512_shuffle_f32x4(b, d, 0xDD);
}

/// Transposes the four by four floats made by block b of each vector, for every b.
inline void transpose_lanes(V* v) {
  const V a = _mm512_unpacklo_ps(v[0], v[1]), b = _mm512_unpackhi_ps(v[0], v[1]);
  const V c = _mm512_unpacklo_ps(v[2], v[3]), d = _mm512_unpackhi_ps(v[2], v[3]);
  v[0] = _mm512_shuffle_ps(a, c, 0x44);
  v[1] = _mm512_shuffle_ps(a, c, 0xEE);
  v[2] = _mm512_shuffle_ps(b, d, 0x44);
  v[3] = _mm512_shuffle_ps(b, d, 0xEE);
}

}  // namespace
}  // namespace crosscam::avx512

#include "crop_rows.inl"
#include "dense_tile.inl"
#include "hardest_tile.inl"
#include "infonce_tile.inl"
#include "memory_row.inl"
#include "normalise_row.inl"
#include "topk_float.inl"
