// The micro-kernel of similarity_topk, written once over the vector type V of the including file.
//
// Vector lanes are queries, so a gallery row is used as it lies in memory (its elements are
// broadcast) and only the queries are packed. Each lane is one chain of fused multiply-adds over
// the feature dimension: the sum of a (row, query) pair does not depend on the tile it falls into.

namespace crosscam::CROSSCAM_ISA {

extern const TopkKernels topk;

namespace {

constexpr int kPrefetchStep = 16;  // floats per cache line

template <int kVectors, int kRows>
inline void accumulate(V (&sum)[kRows][kVectors], const float* const (&row)[kRows],
                       const float* query, int64_t d) {
  V q[kVectors];
  for (int v = 0; v < kVectors; ++v) q[v] = load(query + v * kLanes);
  for (int r = 0; r < kRows; ++r) {
    const V g = broadcast(row[r][d]);
    for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(g, q[v], sum[r][v]);
  }
}

template <int kVectors, int kRows>
void tile(const TopkTile& job) {
  constexpr int kBlock = kVectors * kLanes;
  const float* row[kRows];
  V sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    row[r] = job.rows[r];
    for (int v = 0; v < kVectors; ++v) sum[r][v] = zero();
  }
  const float* query = job.queries;
  int64_t d = 0;
  for (; d + kPrefetchStep <= job.dim; d += kPrefetchStep) {
    for (int r = 0; r < kRows; ++r) __builtin_prefetch(job.next[r] + d);
#pragma GCC unroll 4
    for (int step = 0; step < kPrefetchStep; ++step) {
      accumulate<kVectors, kRows>(sum, row, query, d + step);
      query += kBlock;
    }
  }
  for (; d < job.dim; ++d) {
    accumulate<kVectors, kRows>(sum, row, query, d);
    query += kBlock;
  }
  for (int r = 0; r < kRows; ++r) {
    uint64_t hits = 0;
    for (int v = 0; v < kVectors; ++v) {
      store(job.similarity + r * kBlock + v * kLanes, sum[r][v]);
      const uint64_t mask = greater(sum[r][v], load(job.threshold + v * kLanes));
      hits |= mask << (v * kLanes);
    }
    job.hits[r] = hits;
  }
}

template <int kVectors>
constexpr auto tile_for() -> void (*)(const TopkTile&) {
  if constexpr (kVectors <= kMaxVectors) {
    return &tile<kVectors, kTileRows[kVectors - 1]>;
  } else {
    return nullptr;
  }
}

}  // namespace

constinit const TopkKernels topk = {
    kLanes,
    kMaxVectors,
    {kTileRows[0], kTileRows[1], kTileRows[2], kTileRows[3]},
    {tile_for<1>(), tile_for<2>(), tile_for<3>(), tile_for<4>()},
    &time_mask,
};

}  // namespace crosscam::CROSSCAM_ISA
