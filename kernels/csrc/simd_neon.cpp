// NEON on aarch64: 4 lanes. See simd_kernels.h for what may be included here.
#define CROSSCAM_ISA neon
#include "simd_neon.inl"

#include "infonce_kernels.h"

namespace crosscam::neon {
namespace {

constexpr int kPixelBytes = 3;

inline float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/// n values of IEEE half precision, exactly.
inline void widen_fp16(const uint16_t* row, int64_t n, float* out) {
  int64_t d = 0;
  for (; d + kLanes <= n; d += kLanes) {
    vst1q_f32(out + d, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(row + d))));
  }
  for (; d < n; ++d) {
    __fp16 half;
    __builtin_memcpy(&half, row + d, sizeof half);
    out[d] = static_cast<float>(half);
  }
}

inline V load_bf16(const uint16_t* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
inline V load_fp16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline V load_int8(const int8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(word)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

inline Quad quad_step(Quad g, Quad q, Quad sum) {
  const int8x16_t a = vreinterpretq_s8_s32(g), b = vreinterpretq_s8_s32(q);
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  const int16x8_t high = vmull_high_s8(a, b);
  return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}

/// One pixel of three bytes to floats; the fourth channel is zero.
inline V load_pixels(const uint8_t* p) {
  const uint32_t word = static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 |
                        static_cast<uint32_t>(p[2]) << 16;
  const uint16x8_t wide = vmovl_u8(vcreate_u8(word));
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)));
}

/// The same of a pixel of four bytes.
inline V load_pixels4(const uint8_t* p) { return load_pixels(p); }

/// To binary16, to nearest, ties to even.
inline void store_half(uint16_t* p, V a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }

inline void store_int8(int8_t* p, V a, float scale, int32_t zero_point) {
  const V limit = vdupq_n_f32(1024.0f);  // beyond what saturates, within what converts
  const V scaled = vminq_f32(vdivq_f32(a, vdupq_n_f32(scale)), limit);
  const int32x4_t rounded = vcvtnq_s32_f32(vmaxq_f32(scaled, vnegq_f32(limit)));
  const int16x4_t words = vqmovn_s32(vaddq_s32(rounded, vdupq_n_s32(zero_point)));
  const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
  vst1_lane_s32(reinterpret_cast<int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
}

inline void transpose_blocks(V*) {}

/// Transposes four by four floats.
inline void transpose_lanes(V* v) {
  const float32x4x2_t ab = vtrnq_f32(v[0], v[1]), cd = vtrnq_f32(v[2], v[3]);
  v[0] = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
  v[1] = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
  v[2] = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
  v[3] = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
}

}  // namespace
}  // namespace crosscam::neon

#include "crop_rows.inl"
#include "dense_tile.inl"
#include "hardest_tile.inl"
#include "infonce_tile.inl"
#include "memory_row.inl"
#include "normalise_row.inl"
#include "topk_float.inl"
#include "topk_int8.inl"
