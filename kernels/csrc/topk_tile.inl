#pragma once

// The micro-kernels of similarity_topk, written once over the vector type V of the including file.
//
// Vector lanes are queries, so a gallery row is used as it lies in memory (its 32-bit words are
// broadcast) and only the queries are packed. Each lane is one chain of accumulations over the
// words of the row: the sum of a (row, query) pair does not depend on the tile it falls into.
//
// Loops over registers are unrolled by order; otherwise GCC keeps some of the sums in memory.
//
// An operation `Op` says what a word holds:
//   Acc, Query         register types of the sums and of a word of the queries
//   start(job, v)      sums before the first word, for the v-th register of the block
//   load(address)      one word of kLanes queries
//   step(row, q, sum)  sum + (word of the row) * (words of the queries)
//   finish(sum, job, r, v)  the similarities

namespace crosscam::CROSSCAM_ISA {
namespace {

constexpr int kPrefetchStep = 16;  // words per cache line

template <class Op, int kVectors, int kRows>
inline void accumulate(typename Op::Acc (&sum)[kRows][kVectors], const uint32_t* const (&row)[kRows],
                       const uint32_t* query, int64_t w) {
  typename Op::Query q[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) q[v] = Op::load(query + v * kLanes);
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    const typename Op::Query g = Op::broadcast(row[r] + w);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = Op::step(g, q[v], sum[r][v]);
  }
}

template <class Op, int kVectors, int kRows>
void tile(const TopkTile& job) {
  constexpr int kBlock = kVectors * kLanes;
  const uint32_t* row[kRows];
  typename Op::Acc sum[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    row[r] = static_cast<const uint32_t*>(job.rows[r]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = Op::start(job, v);
  }
  const uint32_t* query = static_cast<const uint32_t*>(job.queries);
  int64_t w = 0;
  for (; w + kPrefetchStep <= job.words; w += kPrefetchStep) {
    for (int r = 0; r < kRows; ++r) {
      __builtin_prefetch(static_cast<const char*>(job.next[r]) + w * int64_t{sizeof(uint32_t)});
    }
#pragma GCC unroll 4
    for (int step = 0; step < kPrefetchStep; ++step) {
      accumulate<Op, kVectors, kRows>(sum, row, query, w + step);
      query += kBlock;
    }
  }
  for (; w < job.words; ++w) {
    accumulate<Op, kVectors, kRows>(sum, row, query, w);
    query += kBlock;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    uint64_t hits = 0;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const V similarity = Op::finish(sum[r][v], job, r, v);
      store(job.similarity + r * kBlock + v * kLanes, similarity);
      const uint64_t mask = greater(similarity, load(job.threshold + v * kLanes));
      hits |= mask << (v * kLanes);
    }
    job.hits[r] = hits;
  }
}

template <class Op, int kVectors>
constexpr auto tile_for() -> void (*)(const TopkTile&) {
  if constexpr (kVectors <= kMaxVectors) {
    return &tile<Op, kVectors, kTileRows[kVectors - 1]>;
  } else {
    return nullptr;
  }
}

template <class Op>
constexpr TopkKernels kernels_for() {
  return {
      kLanes,
      kMaxVectors,
      {kTileRows[0], kTileRows[1], kTileRows[2], kTileRows[3]},
      {tile_for<Op, 1>(), tile_for<Op, 2>(), tile_for<Op, 3>(), tile_for<Op, 4>()},
      &time_mask,
  };
}

}  // namespace
}  // namespace crosscam::CROSSCAM_ISA
