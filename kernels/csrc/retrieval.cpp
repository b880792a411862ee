#include "retrieval.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <numeric>
#include <vector>

#include "parallel.h"
#include "rank_key.h"
#include "retrieval_counter.h"
#include "simd_kernels.h"

namespace crosscam {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kListBytes = 256 << 10;   // gallery rows that stay in the L2 cache
constexpr int64_t kChunkFloats = 16 << 20;  // packed queries held at a time
constexpr int64_t kChunkKeys = 4 << 20;     // rows of the queries' own identities, likewise
constexpr int64_t kBlocksPerTask = 8;       // query blocks that pass over the gallery together
constexpr int64_t kTasksPerWorker = 8;
constexpr int kRowStep = 24;  // multiple of every tile height

/// Feature rows brought to the form in which their inner product is the score.
class PreparedRows {
 public:
  PreparedRows(const float* rows, int64_t count, int64_t stride, int64_t dim,
               RetrievalMetric metric, bool is_query)
      : rows_(rows), stride_(stride), dim_(dim), metric_(metric), is_query_(is_query) {
    if (metric == RetrievalMetric::kInnerProduct) return;
    factor_.resize(static_cast<size_t>(count));
    for (int64_t row = 0; row < count; ++row) {
      double square = 0.0;
      for (int64_t d = 0; d < dim; ++d) {
        square += static_cast<double>(at(row)[d]) * static_cast<double>(at(row)[d]);
      }
      const double cosine = square > 0.0 ? 1.0 / std::sqrt(square) : 0.0;
      factor_[static_cast<size_t>(row)] =
          static_cast<float>(metric == RetrievalMetric::kCosine ? cosine : -0.5 * square);
    }
  }

  int64_t dim() const { return dim_ + (metric_ == RetrievalMetric::kEuclidean ? 1 : 0); }
  bool as_given() const { return metric_ == RetrievalMetric::kInnerProduct; }
  const float* at(int64_t row) const { return rows_ + row * stride_; }

  /// Writes feature d of the row to out[d * step].
  void copy(int64_t row, float* out, int64_t step) const {
    const float scale =
        metric_ == RetrievalMetric::kCosine ? factor_[static_cast<size_t>(row)] : 1.0f;
    for (int64_t d = 0; d < dim_; ++d) out[d * step] = at(row)[d] * scale;
    if (metric_ == RetrievalMetric::kEuclidean) {
      out[dim_ * step] = is_query_ ? 1.0f : factor_[static_cast<size_t>(row)];
    }
  }

 private:
  const float* rows_;
  int64_t stride_, dim_;
  RetrievalMetric metric_;
  bool is_query_;
  std::vector<float> factor_;
};

/// Up to 64 queries, packed for the tile kernel (feature-major) with what is counted for them.
struct QueryBlock {
  const int64_t* query = nullptr;  // their rows, by identity
  int count = 0;
  int vectors = 0;
  std::vector<float> packed;  // (D, width), and up to one cache line for alignment
  const float* data = nullptr;
  std::vector<RankCounter> counters;
  std::vector<float> threshold;  // a score must exceed it to come before a right answer
  uint64_t all = 0;              // queries for which every score counts
  std::vector<size_t> offset;    // of each query's counts
  std::vector<int64_t> counts;
};

/// One thread's buffers for scoring lists of gallery rows against query blocks.
class TileScorer {
 public:
  TileScorer(const PreparedRows& gallery, const TopkKernels& kernels)
      : gallery_(gallery), kernels_(kernels) {
    const int64_t fitting = kListBytes / (gallery.dim() * int64_t{sizeof(float)});
    capacity_ = std::clamp<int64_t>(fitting / kRowStep * kRowStep, 2 * kRowStep, 40 * kRowStep);
    pointers_.resize(static_cast<size_t>(capacity_ + 2 * kMaxTileRows));
    if (!gallery.as_given()) copies_.resize(static_cast<size_t>(capacity_ * gallery.dim()));
  }

  int64_t capacity() const { return capacity_; }

  /// Sets the list; `count` is at most capacity().
  void load(const int64_t* rows, int64_t count) {
    rows_ = rows;
    count_ = count;
    for (int64_t i = 0; i < count; ++i) {
      float* const copy = copies_.data() + (copies_.empty() ? 0 : i * gallery_.dim());
      if (!gallery_.as_given()) gallery_.copy(rows[i], copy, 1);
      pointers_[static_cast<size_t>(i)] = gallery_.as_given() ? gallery_.at(rows[i]) : copy;
    }
    std::fill_n(pointers_.begin() + count, 2 * kMaxTileRows,
                count > 0 ? pointers_[static_cast<size_t>(count - 1)] : nullptr);
  }

  /// Calls visit(row, hits, scores) for each row of the list: bit q of `hits` is set when the score
  /// of query q is greater than threshold[q].
  template <typename Visit>
  void score(const QueryBlock& block, const float* threshold, const Visit& visit) {
    const int height = kernels_.tile_rows[block.vectors - 1];
    const int64_t width = int64_t{block.vectors} * kernels_.lanes;
    alignas(64) float scores[kMaxTileRows * kMaxQueryBlock];
    uint64_t hits[kMaxTileRows];
    TopkTile tile{};
    tile.queries = block.data;
    tile.words = gallery_.dim();
    tile.threshold = threshold;
    tile.similarity = scores;
    tile.hits = hits;
    for (int64_t at = 0; at < count_; at += height) {
      tile.rows = pointers_.data() + at;
      tile.next = pointers_.data() + std::min(at + height, count_);
      kernels_.tile[block.vectors - 1](tile);
      const int64_t used = std::min<int64_t>(height, count_ - at);
      for (int64_t r = 0; r < used; ++r) visit(rows_[at + r], hits[r], scores + r * width);
    }
  }

 private:
  const PreparedRows& gallery_;
  const TopkKernels& kernels_;
  int64_t capacity_ = 0;
  std::vector<const void*> pointers_;
  std::vector<float> copies_;
  const int64_t* rows_ = nullptr;
  int64_t count_ = 0;
};

class Ranking {
 public:
  Ranking(const RetrievalLabels& labels, const RetrievalFeatures& f, int threads, SimdLevel simd,
          const RetrievalResult& result)
      : labels_(labels),
        kernels_(topk_kernels(simd)),
        queries_(f.queries, labels.query_count, f.query_stride, f.dim, f.metric, true),
        gallery_(f.gallery, labels.gallery_count, f.gallery_stride, f.dim, f.metric, false),
        index_(labels),
        threads_(worker_count(threads)),
        result_(result) {
    if (labels.valid != nullptr) {
      for (int64_t row = 0; row < labels.gallery_count; ++row) {
        if (labels.valid[row] != 0) valid_.push_back(row);
      }
    } else {
      valid_.resize(static_cast<size_t>(labels.gallery_count));
      std::iota(valid_.begin(), valid_.end(), int64_t{0});
    }
    // Queries of one identity side by side share the rows that are right or left out.
    order_.resize(static_cast<size_t>(labels.query_count));
    std::iota(order_.begin(), order_.end(), int64_t{0});
    std::stable_sort(order_.begin(), order_.end(),
                     [&](int64_t a, int64_t b) { return labels.query_id[a] < labels.query_id[b]; });
  }

  void run() {
    const int64_t width = int64_t{kernels_.lanes} * kernels_.max_vectors;
    const int64_t total = labels_.query_count;
    for (int64_t begin = 0; begin < total;) {
      std::vector<QueryBlock> blocks;
      int64_t floats = 0, keys = 0;
      while (begin < total && (blocks.empty() || (floats < kChunkFloats && keys < kChunkKeys))) {
        QueryBlock block;
        block.query = order_.data() + begin;
        block.count = static_cast<int>(std::min(width, total - begin));
        floats += width * gallery_.dim();
        for (int i = 0; i < block.count; ++i) keys += own_rows(block.query[i]);
        begin += block.count;
        blocks.push_back(std::move(block));
      }
      run_chunk(blocks);
    }
  }

 private:
  int64_t own_rows(int64_t query) const {
    const auto [first, last] = index_.range(labels_.query_id[query]);
    return static_cast<int64_t>(last - first);
  }

  void run_chunk(std::vector<QueryBlock>& blocks) {
    const auto block_count = static_cast<int64_t>(blocks.size());
    share(block_count, [&](TileScorer& scorer, int64_t b) {
      pack(blocks[static_cast<size_t>(b)]);
      score_own(scorer, blocks[static_cast<size_t>(b)]);
    });

    const int64_t per_task = std::clamp<int64_t>(block_count / threads_, 1, kBlocksPerTask);
    const int64_t groups = (block_count + per_task - 1) / per_task;
    const auto rows = static_cast<int64_t>(valid_.size());
    const int64_t ranges = std::clamp<int64_t>((threads_ * kTasksPerWorker + groups - 1) / groups,
                                               1, std::max<int64_t>(1, rows / 1024));
    std::mutex merging;
    share(groups * ranges, [&](TileScorer& scorer, int64_t task) {
      const int64_t first = task / ranges * per_task, part = task % ranges;
      const int64_t last = std::min(first + per_task, block_count);
      count_range(scorer, blocks, first, last, rows * part / ranges, rows * (part + 1) / ranges,
                  merging);
    });

    for (QueryBlock& block : blocks) {
      for (int q = 0; q < block.count; ++q) {
        const auto i = static_cast<size_t>(q);
        int64_t* const counts = block.counts.data() + block.offset[i];
        block.counters[i].uncount_junk(counts);
        block.counters[i].finish(counts, result_, block.query[q]);
      }
    }
  }

  /// Runs body(scorer, task) for every task, each worker with its own scorer.
  template <typename Body>
  void share(int64_t tasks, const Body& body) {
    std::atomic<int64_t> next{0};
    run_workers(static_cast<int>(std::min<int64_t>(threads_, tasks)), [&](int) {
      TileScorer scorer(gallery_, kernels_);
      for (int64_t task = next++; task < tasks; task = next++) body(scorer, task);
    });
  }

  void pack(QueryBlock& block) const {
    constexpr size_t kAlign = 16;  // floats: one cache line
    const int lanes = kernels_.lanes;
    block.vectors = (block.count + lanes - 1) / lanes;
    const int64_t width = int64_t{block.vectors} * lanes;
    block.packed.assign(static_cast<size_t>(width * gallery_.dim()) + kAlign, 0.0f);
    const auto address = reinterpret_cast<uintptr_t>(block.packed.data()) / sizeof(float);
    float* const to = block.packed.data() + (kAlign - address % kAlign) % kAlign;
    for (int q = 0; q < block.count; ++q) queries_.copy(block.query[q], to + q, width);
    block.data = to;
    block.threshold.assign(kMaxQueryBlock, kInfinity);
    block.counters.resize(static_cast<size_t>(block.count));
  }

  /// Scores the rows of the queries' own identities, by the kernel that scores all the others.
  void score_own(TileScorer& scorer, QueryBlock& block) const {
    const std::vector<float> none(kMaxQueryBlock, kInfinity);
    for (int begin = 0, end = 0; begin < block.count; begin = end) {
      const int64_t id = labels_.query_id[block.query[begin]];
      while (end < block.count && labels_.query_id[block.query[end]] == id) ++end;
      const auto [first, last] = index_.range(id);
      for (size_t at = first; at < last; at += static_cast<size_t>(scorer.capacity())) {
        const auto left = static_cast<int64_t>(last - at);
        scorer.load(index_.rows().data() + at, std::min(left, scorer.capacity()));
        scorer.score(block, none.data(), [&](int64_t row, uint64_t, const float* scores) {
          for (int q = begin; q < end; ++q) {
            block.counters[static_cast<size_t>(q)].own(rank_key(scores[q], row),
                                                       is_positive(labels_, block.query[q], row));
          }
        });
      }
    }
    size_t size = 0;
    for (int q = 0; q < block.count; ++q) {
      RankCounter& counter = block.counters[static_cast<size_t>(q)];
      counter.sort();
      block.offset.push_back(size);
      size += counter.size() + 1;
      const float lowest = counter.lowest();
      // An equal score may come first by its index: let it through. NaN and -inf: all come first.
      block.threshold[static_cast<size_t>(q)] = std::nextafter(lowest, -kInfinity);
      if (!(lowest > -kInfinity)) block.all |= uint64_t{1} << q;
    }
    block.counts.assign(size, 0);
  }

  /// Counts the valid rows [from, to) for the queries of blocks [first, last).
  void count_range(TileScorer& scorer, std::vector<QueryBlock>& blocks, int64_t first, int64_t last,
                   int64_t from, int64_t to, std::mutex& merging) const {
    std::vector<std::vector<int64_t>> counts;
    for (int64_t b = first; b < last; ++b) {
      counts.emplace_back(blocks[static_cast<size_t>(b)].counts.size());
    }
    for (int64_t at = from; at < to; at += scorer.capacity()) {
      scorer.load(valid_.data() + at, std::min(scorer.capacity(), to - at));
      for (int64_t b = first; b < last; ++b) {
        const QueryBlock& block = blocks[static_cast<size_t>(b)];
        int64_t* const count = counts[static_cast<size_t>(b - first)].data();
        const auto tally = [&](int64_t row, uint64_t hits, const float* scores) {
          for (hits |= block.all; hits != 0; hits &= hits - 1) {
            const auto q = static_cast<size_t>(__builtin_ctzll(hits));
            ++count[block.offset[q] + block.counters[q].place(rank_key(scores[q], row))];
          }
        };
        scorer.score(block, block.threshold.data(), tally);
      }
    }
    const std::lock_guard<std::mutex> lock(merging);
    for (int64_t b = first; b < last; ++b) {
      std::vector<int64_t>& into = blocks[static_cast<size_t>(b)].counts;
      const std::vector<int64_t>& add = counts[static_cast<size_t>(b - first)];
      std::transform(into.begin(), into.end(), add.begin(), into.begin(), std::plus<>());
    }
  }

  const RetrievalLabels& labels_;
  const TopkKernels& kernels_;
  PreparedRows queries_, gallery_;
  IdentityIndex index_;
  int threads_;
  const RetrievalResult& result_;
  std::vector<int64_t> valid_, order_;
};

}  // namespace

void retrieval_ranks(const RetrievalLabels& labels, const RetrievalFeatures& features, int threads,
                     SimdLevel simd, const RetrievalResult& result) {
  Ranking(labels, features, threads, simd, result).run();
}

}  // namespace crosscam
