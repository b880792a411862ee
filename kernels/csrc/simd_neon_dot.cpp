// ASIMDDP (Armv8.2 dot product): int8 products of similarity_topk.
#define CROSSCAM_ISA neondot
#include "simd_neon.inl"

namespace crosscam::neondot {
namespace {

inline Quad quad_step(Quad g, Quad q, Quad sum) {
  return vdotq_s32(sum, vreinterpretq_s8_s32(g), vreinterpretq_s8_s32(q));
}

}  // namespace
}  // namespace crosscam::neondot

#include "topk_int8.inl"
