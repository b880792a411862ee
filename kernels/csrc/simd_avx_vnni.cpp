// AVX-VNNI (256 bits, for processors without AVX-512): int8 products of similarity_topk.
#define CROSSCAM_ISA avxvnni
#include "simd_avx2.inl"

namespace crosscam::avxvnni {
namespace {

/// See simd_avx512_vnni.cpp for the offset of 128.
inline Quad quad_broadcast(const uint32_t* row) {
  int word;
  __builtin_memcpy(&word, row, sizeof word);
  return quad(_mm256_xor_si256(_mm256_set1_epi32(word), _mm256_set1_epi8(-128)));
}
inline Quad quad_start(const int32_t* query_sum) {
  const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query_sum));
  return quad(_mm256_mullo_epi32(sum, _mm256_set1_epi32(-128)));
}
inline Quad quad_step(Quad g, Quad q, Quad sum) {
  return quad(_mm256_dpbusd_avx_epi32(bits(sum), bits(g), bits(q)));
}

}  // namespace
}  // namespace crosscam::avxvnni

#include "topk_int8.inl"
