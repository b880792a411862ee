#include "topk_scan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.h"

namespace crosscam {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kRowStep = 24;  // multiple of every tile height, so that full lists need no padding
constexpr int kMaxListRows = 960;
constexpr int64_t kListBytes = 256 << 10;  // gallery rows kept in the L2 cache between blocks
constexpr double kStepsPerThread = 250e3;  // vector multiply-adds below which a thread costs more
constexpr double kLaneFeatures = 16;       // of a row, in one of them, where lanes are features
constexpr int64_t kRangesPerWorker = 16;

int list_rows(const TopkScan& scan) {
  const int64_t bytes = std::max<int64_t>(1, scan.packed.words()) * int64_t{sizeof(uint32_t)};
  // With one block and nothing to convert, rows are used once and need not stay in the cache.
  const bool untouched = scan.bound == nullptr && scan.problem.gallery.element == Element::kFloat32;
  const bool once =
      scan.packed.blocks() == 1 && (untouched || scan.engine.word == TopkWord::kFloatLanes);
  const int64_t fitting = once ? kMaxListRows : kListBytes / bytes;
  return static_cast<int>(
      std::clamp<int64_t>(fitting / kRowStep * kRowStep, 2 * kRowStep, kMaxListRows));
}

}  // namespace

Scanner::Scanner(TopkScan& scan)
    : scan_(scan),
      problem_(scan.problem),
      kernels_(*scan.engine.kernels),
      k_(static_cast<size_t>(scan.problem.k)),
      found_(static_cast<size_t>(scan.problem.query_count)),
      threshold_(static_cast<size_t>(scan.packed.blocks() * scan.packed.block()), kInfinity),
      capacity_(list_rows(scan)),
      source_(scan.problem, scan.engine, capacity_,
              scan.bound == nullptr || scan.engine.word == TopkWord::kFloatLanes
                  ? -1.0f
                  : scan.bound->limit()),
      matrix_(problem_.exact.data != nullptr ? problem_.exact : problem_.gallery),
      row_kernels_(row_kernels(problem_.simd)),
      wide_(matrix_.element == Element::kFloat32 ? 0 : static_cast<size_t>(problem_.dim)),
      rows_(static_cast<size_t>(capacity_ + 2 * kMaxTileRows)),
      indices_(static_cast<size_t>(capacity_)),
      scales_(static_cast<size_t>(capacity_ + 2 * kMaxTileRows)),
      cameras_(static_cast<size_t>(capacity_)) {
  for (int64_t q = 0; q < problem_.query_count; ++q) {
    const bool hopeless = scan.bound != nullptr && !std::isfinite(scan.bound->of(q));
    found_[static_cast<size_t>(q)].overflow = hopeless;
    threshold_[static_cast<size_t>(q)] = hopeless ? kInfinity : -kInfinity;
  }
}

void Scanner::add(int64_t begin, int64_t end, int64_t first_block, int64_t last_block) {
  const bool masked = scan_.mask.any();
  const bool as_they_lie = source_.as_they_lie();
  for (int64_t row = begin; row < end; ++row) {
    if (masked && !scan_.mask.row_allowed(row)) continue;
    const auto at = static_cast<size_t>(size_);
    if (as_they_lie) {
      rows_[at] = problem_.gallery.row(row);
    } else if (!source_.prepare(row, size_, &rows_[at])) {
      scan_.broken = true;
      return;
    }
    indices_[at] = row;
    if (problem_.gallery_scale != nullptr) scales_[at] = problem_.gallery_scale[row];
    if (scan_.mask.by_camera()) cameras_[at] = scan_.mask.camera(row);
    if (++size_ == capacity_) flush(first_block, last_block);
  }
}

void Scanner::flush(int64_t first_block, int64_t last_block) {
  if (size_ == 0) return;
  std::fill_n(rows_.begin() + size_, 2 * kMaxTileRows, rows_[static_cast<size_t>(size_ - 1)]);
  for (int64_t b = first_block; b < last_block; ++b) compare(b);
  size_ = 0;
}

void Scanner::compare(int64_t b) {
  const int vectors = scan_.packed.vectors(b);
  const int height = kernels_.tile_rows[vectors - 1];
  const int width = vectors * kernels_.lanes;
  alignas(64) float similarity[kMaxTileRows * kMaxQueryBlock];
  uint64_t hits[kMaxTileRows];
  bool beyond = false;
  TopkTile tile{};
  tile.queries = scan_.packed.data(b);
  tile.words = scan_.packed.words();
  tile.threshold = threshold_.data() + b * scan_.packed.block();
  tile.query_sum = scan_.packed.query_sum(b);
  tile.query_scale = scan_.packed.query_scale(b);
  tile.similarity = similarity;
  tile.hits = hits;
  tile.limit = scan_.bound == nullptr ? 0.0f : scan_.bound->limit();
  tile.beyond = &beyond;
  for (int at = 0; at < size_; at += height) {
    tile.rows = rows_.data() + at;
    tile.next = rows_.data() + std::min(at + height, size_);
    tile.row_scale = problem_.gallery_scale == nullptr ? nullptr : scales_.data() + at;
    kernels_.tile[vectors - 1](tile);
    const int height_used = std::min(height, size_ - at);
    for (int r = 0; r < height_used; ++r) {
      if (hits[r] != 0) insert(b, at + r, hits[r], similarity + r * width, width);
    }
  }
  if (beyond) scan_.broken = true;
}

void Scanner::insert(int64_t b, int at, uint64_t hits, const float* similarity, int width) {
  const int64_t row = indices_[static_cast<size_t>(at)];
  const TopkMask& mask = scan_.mask;
  if (mask.by_camera()) hits &= mask.camera_bits(b, cameras_[static_cast<size_t>(at)]);
  if (mask.by_time() && hits != 0) {
    const int64_t from = b * scan_.packed.block();
    hits &= kernels_.time_mask(problem_.gallery_time[row], mask.first_time() + from,
                               mask.last_time() + from, width);
  }
  while (hits != 0) {
    const int q = __builtin_ctzll(hits);
    hits &= hits - 1;
    const auto query = static_cast<size_t>(b * scan_.packed.block() + q);
    if (!(similarity[q] > threshold_[query])) continue;  // raised by an earlier row of the tile
    if (scan_.bound != nullptr) {
      collect(query, {similarity[q], row});
      continue;
    }
    found_[query].heap.push({similarity[q], row}, k_);
    threshold_[query] = found_[query].heap.threshold(k_);
  }
}

/// Keeps a row unless k rows are better even if every similarity is off by its bound.
void Scanner::collect(size_t query, const Candidate& item) {
  TopkFound& found = found_[query];
  found.near.push_back(item);
  if (item.similarity > found.heap.threshold(k_)) {
    const auto at = static_cast<int64_t>(query);
    const float* const row = widened(matrix_, item.index, problem_.dim, row_kernels_, wide_.data());
    const float* const features = problem_.queries + at * problem_.query_stride;
    const float reached = row_kernels_.dot(row, features, problem_.dim);
    if (reached > found.heap.threshold(k_)) found.heap.push({reached, item.index}, k_);
    const double lowest = found.heap.threshold(k_) - scan_.bound->of_dot(at) - scan_.bound->of(at);
    threshold_[query] = std::nextafter(static_cast<float>(lowest), -kInfinity);
  }
  const auto most = static_cast<size_t>(max_near(problem_.k));
  if (found.near.size() < most) return;
  const float threshold = threshold_[query];
  std::erase_if(found.near,
                [threshold](const Candidate& c) { return !(c.similarity > threshold); });
  if (found.near.size() > most / 2) {
    found.overflow = true;
    found.near.clear();
    threshold_[query] = kInfinity;
  }
}

std::vector<Scanner> scan_gallery(TopkScan& scan) {
  const TopkProblem& problem = scan.problem;
  const double vectors =
      std::ceil(static_cast<double>(problem.query_count) / scan.engine.kernels->lanes);
  const double words = static_cast<double>(scan.packed.words()) /
                       (scan.engine.word == TopkWord::kFloatLanes ? kLaneFeatures : 1.0);
  const double steps = vectors * static_cast<double>(problem.gallery_count) * words;
  const int workers = static_cast<int>(
      std::clamp<double>(steps / kStepsPerThread, 1.0, worker_count(problem.threads)));
  std::vector<Scanner> scanners;
  scanners.reserve(static_cast<size_t>(workers));
  for (int w = 0; w < workers; ++w) scanners.emplace_back(scan);

  std::atomic<int64_t> next{0};
  const int64_t rows = problem.gallery_count;
  const int64_t blocks = scan.packed.blocks();
  const bool split_queries = rows < 2 * kRowStep * workers * kRangesPerWorker && blocks >= workers;
  run_workers(workers, [&](int worker) {
    Scanner& scanner = scanners[static_cast<size_t>(worker)];
    if (split_queries) {  // a small gallery: each query block is scanned by one thread
      for (int64_t b = next++; b < blocks && !scan.broken; b = next++) {
        scanner.add(0, rows, b, b + 1);
        scanner.flush(b, b + 1);
      }
      return;
    }
    const int64_t share = rows / (workers * kRangesPerWorker) / kRowStep * kRowStep;
    const int64_t step = std::max<int64_t>(share, 2 * kRowStep);
    for (int64_t begin = next.fetch_add(step); begin < rows && !scan.broken;
         begin = next.fetch_add(step)) {
      scanner.add(begin, std::min(begin + step, rows), 0, blocks);
    }
    scanner.flush(0, blocks);
  });
  return scanners;
}

}  // namespace crosscam
