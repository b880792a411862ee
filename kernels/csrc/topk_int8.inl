// int8 part of similarity_topk. The including file says how four products per lane are summed:
// `Quad quad_load(const uint32_t*)`, `quad_broadcast(const uint32_t*)`, `quad_start(const int32_t*)`,
// `quad_step(row, queries, sum)` and `quad_float(sum)`. The sums are exact.

#include "topk_tile.inl"

namespace crosscam::CROSSCAM_ISA {

extern const TopkKernels topk_int8;

namespace {

struct Int8Quad {
  using Acc = Quad;
  using Query = Quad;
  static Quad start(const TopkTile& job, int v) { return quad_start(job.query_sum + v * kLanes); }
  static Quad load(const uint32_t* q) { return quad_load(q); }
  static Quad broadcast(const uint32_t* row) { return quad_broadcast(row); }
  static Quad step(const Quad& g, const Quad& q, const Quad& sum) { return quad_step(g, q, sum); }
  static V finish(const Quad& sum, const TopkTile& job, int r, int v) {
    const V of_query = mul(quad_float(sum), CROSSCAM_ISA::load(job.query_scale + v * kLanes));
    return mul(of_query, CROSSCAM_ISA::broadcast(job.row_scale[r]));
  }
};

}  // namespace

constinit const TopkKernels topk_int8 = kernels_for<Int8Quad>();

}  // namespace crosscam::CROSSCAM_ISA
