#include "topk.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"
#include "simd_kernels.h"
#include "topk_heap.h"
#include "topk_mask.h"

namespace crosscam {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kRowStep = 24;  // multiple of every tile height, so that full lists need no padding
constexpr int kMaxListRows = 960;
constexpr int64_t kListBytes = 256 << 10;  // gallery rows kept in the L2 cache between blocks
constexpr double kStepsPerThread = 250e3;  // vector multiply-adds below which a thread costs more
constexpr int64_t kRangesPerWorker = 16;

/// The queries, packed for the micro-kernel: blocks of (D, width), the query fastest.
class PackedQueries {
 public:
  PackedQueries(const TopkProblem& problem, const TopkKernels& kernels)
      : block_(kernels.lanes * kernels.max_vectors),
        lanes_(kernels.lanes),
        count_(problem.query_count),
        dim_(problem.dim) {
    const int64_t padded = (count_ + lanes_ - 1) / lanes_ * lanes_;
    storage_.assign(static_cast<size_t>(padded * dim_ + kAlign), 0.0f);
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    data_ = storage_.data() + (kAlign * sizeof(float) - address % (kAlign * sizeof(float))) %
                                  (kAlign * sizeof(float)) / sizeof(float);
    for (int64_t b = 0; b < blocks(); ++b) pack(problem, b);
  }

  int64_t blocks() const { return (count_ + block_ - 1) / block_; }
  int block() const { return block_; }
  const float* data(int64_t b) const { return data_ + b * block_ * dim_; }
  /// Registers that block `b` fills.
  int vectors(int64_t b) const {
    return static_cast<int>((std::min<int64_t>(block_, count_ - b * block_) + lanes_ - 1) / lanes_);
  }

 private:
  static constexpr size_t kAlign = 16;  // floats: one cache line

  void pack(const TopkProblem& problem, int64_t b) {
    const int64_t width = static_cast<int64_t>(vectors(b)) * lanes_;
    const int64_t last = std::min<int64_t>(block_, count_ - b * block_);
    float* const to = data_ + b * block_ * dim_;
    for (int64_t q = 0; q < last; ++q) {
      const float* const from = problem.queries + (b * block_ + q) * problem.query_stride;
      for (int64_t d = 0; d < dim_; ++d) to[d * width + q] = from[d];
    }
  }

  int block_, lanes_;
  int64_t count_, dim_;
  std::vector<float> storage_;
  float* data_ = nullptr;
};

/// One thread's scan: its own heaps, thresholds and list of gallery rows waiting to be compared.
class Scanner {
 public:
  Scanner(const TopkProblem& problem, const TopkKernels& kernels, const PackedQueries& packed,
          const TopkMask& mask)
      : problem_(problem),
        kernels_(kernels),
        packed_(packed),
        mask_(mask),
        k_(static_cast<size_t>(problem.k)),
        heaps_(static_cast<size_t>(problem.query_count)),
        threshold_(static_cast<size_t>(packed.blocks() * packed.block()), kInfinity) {
    std::fill_n(threshold_.begin(), problem.query_count, -kInfinity);
    const int64_t row_bytes = std::max<int64_t>(1, problem.dim) * int64_t{sizeof(float)};
    const int64_t fitting = packed.blocks() == 1 ? kMaxListRows : kListBytes / row_bytes;
    capacity_ = static_cast<int>(
        std::clamp<int64_t>(fitting / kRowStep * kRowStep, 2 * kRowStep, kMaxListRows));
    rows_.resize(static_cast<size_t>(capacity_ + 2 * kMaxTileRows));
    indices_.resize(static_cast<size_t>(capacity_));
    cameras_.resize(static_cast<size_t>(capacity_));
  }

  /// Adds gallery rows [begin, end). Ranges must come in ascending order for a given block.
  void add(int64_t begin, int64_t end, int64_t first_block, int64_t last_block) {
    const bool masked = mask_.any();
    for (int64_t row = begin; row < end; ++row) {
      if (masked && !mask_.row_allowed(row)) continue;
      const auto at = static_cast<size_t>(size_);
      rows_[at] = problem_.gallery + row * problem_.gallery_stride;
      indices_[at] = row;
      if (mask_.by_camera()) cameras_[at] = mask_.camera(row);
      if (++size_ == capacity_) flush(first_block, last_block);
    }
  }

  /// Compares the rows still waiting with the blocks [first_block, last_block).
  void flush(int64_t first_block, int64_t last_block) {
    if (size_ == 0) return;
    std::fill_n(rows_.begin() + size_, 2 * kMaxTileRows, rows_[static_cast<size_t>(size_ - 1)]);
    for (int64_t b = first_block; b < last_block; ++b) compare(b);
    size_ = 0;
  }

  const TopkHeap& heap(int64_t query) const { return heaps_[static_cast<size_t>(query)]; }

 private:
  void compare(int64_t b) {
    const int vectors = packed_.vectors(b);
    const int height = kernels_.tile_rows[vectors - 1];
    const int width = vectors * kernels_.lanes;
    alignas(64) float similarity[kMaxTileRows * kMaxQueryBlock];
    uint64_t hits[kMaxTileRows];
    TopkTile tile{};
    tile.queries = packed_.data(b);
    tile.dim = problem_.dim;
    tile.threshold = threshold_.data() + b * packed_.block();
    tile.similarity = similarity;
    tile.hits = hits;
    for (int at = 0; at < size_; at += height) {
      tile.rows = rows_.data() + at;
      tile.next = rows_.data() + std::min(at + height, size_);
      kernels_.tile[vectors - 1](tile);
      const int height_used = std::min(height, size_ - at);
      for (int r = 0; r < height_used; ++r) {
        if (hits[r] != 0) insert(b, at + r, hits[r], similarity + r * width, width);
      }
    }
  }

  void insert(int64_t b, int at, uint64_t hits, const float* similarity, int width) {
    const int64_t row = indices_[static_cast<size_t>(at)];
    if (mask_.by_camera()) hits &= mask_.camera_bits(b, cameras_[static_cast<size_t>(at)]);
    if (mask_.by_time() && hits != 0) {
      const int64_t from = b * packed_.block();
      hits &= kernels_.time_mask(problem_.gallery_time[row], mask_.first_time() + from,
                                 mask_.last_time() + from, width);
    }
    while (hits != 0) {
      const int q = __builtin_ctzll(hits);
      hits &= hits - 1;
      const auto query = static_cast<size_t>(b * packed_.block() + q);
      if (!(similarity[q] > threshold_[query])) continue;  // raised by an earlier row of the tile
      heaps_[query].push({similarity[q], row}, k_);
      threshold_[query] = heaps_[query].threshold(k_);
    }
  }

  const TopkProblem& problem_;
  const TopkKernels& kernels_;
  const PackedQueries& packed_;
  const TopkMask& mask_;
  size_t k_;
  std::vector<TopkHeap> heaps_;
  std::vector<float> threshold_;
  int capacity_ = 0;
  int size_ = 0;
  std::vector<const float*> rows_;
  std::vector<int64_t> indices_;
  std::vector<int32_t> cameras_;
};

/// Writes the best k over all scanners for each query, then the padding.
void write_results(const TopkProblem& problem, const std::vector<Scanner>& scanners,
                   float* similarity, int64_t* index) {
  std::vector<Candidate> merged;
  for (int64_t query = 0; query < problem.query_count; ++query) {
    merged.clear();
    for (const Scanner& scanner : scanners) {
      const auto& items = scanner.heap(query).items();
      merged.insert(merged.end(), items.begin(), items.end());
    }
    const auto found = std::min<int64_t>(problem.k, static_cast<int64_t>(merged.size()));
    std::partial_sort(merged.begin(), merged.begin() + found, merged.end(), better);
    for (int64_t i = 0; i < problem.k; ++i) {
      const bool real = i < found;
      similarity[query * problem.k + i] =
          real ? merged[static_cast<size_t>(i)].similarity : -kInfinity;
      index[query * problem.k + i] = real ? merged[static_cast<size_t>(i)].index : -1;
    }
  }
}

}  // namespace

void similarity_topk(const TopkProblem& problem, float* similarity, int64_t* index) {
  if (problem.query_count == 0 || problem.k == 0) return;
  const TopkKernels& kernels = topk_kernels(problem.simd);
  const PackedQueries packed(problem, kernels);
  const TopkMask mask(problem, packed.block());

  const double vectors = std::ceil(static_cast<double>(problem.query_count) / kernels.lanes);
  const double steps =
      vectors * static_cast<double>(problem.gallery_count) * static_cast<double>(problem.dim);
  const int workers = static_cast<int>(
      std::clamp<double>(steps / kStepsPerThread, 1.0, worker_count(problem.threads)));
  std::vector<Scanner> scanners;
  scanners.reserve(static_cast<size_t>(workers));
  for (int w = 0; w < workers; ++w) scanners.emplace_back(problem, kernels, packed, mask);

  std::atomic<int64_t> next{0};
  const int64_t rows = problem.gallery_count;
  const int64_t blocks = packed.blocks();
  const bool split_queries = rows < 2 * kRowStep * workers * kRangesPerWorker && blocks >= workers;
  run_workers(workers, [&](int worker) {
    Scanner& scanner = scanners[static_cast<size_t>(worker)];
    if (split_queries) {  // a small gallery: each query block is scanned by one thread
      for (int64_t b = next++; b < blocks; b = next++) {
        scanner.add(0, rows, b, b + 1);
        scanner.flush(b, b + 1);
      }
      return;
    }
    const int64_t share = rows / (workers * kRangesPerWorker) / kRowStep * kRowStep;
    const int64_t step = std::max<int64_t>(share, 2 * kRowStep);
    for (int64_t begin = next.fetch_add(step); begin < rows; begin = next.fetch_add(step)) {
      scanner.add(begin, std::min(begin + step, rows), 0, blocks);
    }
    scanner.flush(0, blocks);
  });
  write_results(problem, scanners, similarity, index);
}

}  // namespace crosscam
