// Vectors of NEON on aarch64: 4 lanes, for the files of that level.
#include <arm_neon.h>

#include "simd_kernels.h"

namespace crosscam::CROSSCAM_ISA {
namespace {

using V = float32x4_t;
constexpr int kLanes = 4;
constexpr int kMaxVectors = 4;
constexpr int kTileRows[4] = {12, 12, 8, 6};  // keeps up to 24 of the 32 registers accumulating

inline V zero() { return vdupq_n_f32(0.0f); }
inline V load(const float* p) { return vld1q_f32(p); }
inline V broadcast(float x) { return vdupq_n_f32(x); }
inline V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
inline V mul(V a, V b) { return vmulq_f32(a, b); }
inline void store(float* p, V a) { vst1q_f32(p, a); }
inline V add(V a, V b) { return vaddq_f32(a, b); }
inline V sub(V a, V b) { return vsubq_f32(a, b); }
inline V maximum(V a, V b) { return vmaxq_f32(a, b); }
inline V minimum(V a, V b) { return vminq_f32(a, b); }
/// Lane i of a where bit i is set, else of b.
inline V select(uint32_t bits, V a, V b) {
  const uint32x4_t lane = {1, 2, 4, 8};
  return vbslq_f32(vtstq_u32(vdupq_n_u32(bits), lane), a, b);
}
/// Multiplies x by two to the power of the integer in the low bits of n.
inline V add_to_exponent(V x, V n) {
  const uint32x4_t power = vshlq_n_u32(vreinterpretq_u32_f32(n), 23);
  return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(x), power));
}
/// The sum of all lanes, in an order of its own.
inline float sum_lanes(V a) { return vaddvq_f32(a); }
inline uint32_t greater(V a, V b) {
  const uint32x4_t bits = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(vcgtq_f32(a, b), bits));
}

inline uint64_t time_mask(int64_t time, const int64_t* first, const int64_t* last, int count) {
  uint64_t mask = 0;
  for (int q = 0; q < count; ++q) {
    mask |= static_cast<uint64_t>(first[q] <= time && time <= last[q]) << q;
  }
  return mask;
}

/// Four int8 in each 32-bit lane of the factors, one int32 in each of the sums.
using Quad = int32x4_t;
inline Quad quad_load(const uint32_t* q) { return vreinterpretq_s32_u32(vld1q_u32(q)); }
inline Quad quad_broadcast(const uint32_t* row) {
  int32_t word;
  __builtin_memcpy(&word, row, sizeof word);
  return vdupq_n_s32(word);
}
inline Quad quad_start(const int32_t*) { return vdupq_n_s32(0); }
inline V quad_float(Quad sum) { return vcvtq_f32_s32(sum); }

}  // namespace
}  // namespace crosscam::CROSSCAM_ISA
