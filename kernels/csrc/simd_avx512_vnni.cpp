// AVX512-VNNI: int8 products of similarity_topk.
#define CROSSCAM_ISA avx512vnni
#include "simd_avx512.inl"

namespace crosscam::avx512vnni {
namespace {

/// Sums as vectors of int: GCC 12 keeps arrays of __m512i, whose elements are long, in memory.
using Quad = __v16si;
inline __m512i bits(Quad a) { return reinterpret_cast<__m512i>(a); }
inline Quad quad(__m512i a) { return reinterpret_cast<Quad>(a); }

inline Quad quad_load(const uint32_t* q) { return quad(_mm512_loadu_si512(q)); }
/// vpdpbusd multiplies unsigned by signed: the row is used as row + 128, which adds 128 * (sum of
/// the query's values) to a sum. `quad_start` takes that off in advance.
inline Quad quad_broadcast(const uint32_t* row) {
  int word;
  __builtin_memcpy(&word, row, sizeof word);
  return quad(_mm512_xor_si512(_mm512_set1_epi32(word), _mm512_set1_epi8(-128)));
}
inline Quad quad_start(const int32_t* query_sum) {
  return quad(_mm512_mullo_epi32(_mm512_loadu_si512(query_sum), _mm512_set1_epi32(-128)));
}
inline Quad quad_step(Quad g, Quad q, Quad sum) {
  return quad(_mm512_dpbusd_epi32(bits(sum), bits(g), bits(q)));
}
inline V quad_float(Quad sum) { return _mm512_cvtepi32_ps(bits(sum)); }

}  // namespace
}  // namespace crosscam::avx512vnni

#include "topk_int8.inl"
