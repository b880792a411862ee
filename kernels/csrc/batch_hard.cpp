#include "batch_hard.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "parallel.h"
#include "simd_kernels.h"

namespace crosscam {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kTaskRows = 48;             // a multiple of all tile heights
constexpr double kProductsPerThread = 2.0e6;  // multiply-adds below which a thread costs more
constexpr int64_t kPadding = kMaxQueryBlock;  // so that the selection can read whole registers

/// Numbers of the values of `candidates` in ascending order; an anchor's value that no candidate
/// has gets -1. Ends in padding.
struct Numbers {
  std::vector<int32_t> anchors, candidates;

  Numbers(const int64_t* of_anchors, int64_t anchor_count, const int64_t* of_candidates,
          int64_t candidate_count)
      : anchors(static_cast<size_t>(anchor_count + kPadding)),
        candidates(static_cast<size_t>(candidate_count + kPadding)) {
    if (of_anchors == nullptr) return;  // all the same
    std::vector<int64_t> known(of_candidates, of_candidates + candidate_count);
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    const auto number = [&](int64_t value) {
      const auto at = std::lower_bound(known.begin(), known.end(), value);
      return at != known.end() && *at == value ? static_cast<int32_t>(at - known.begin()) : -1;
    };
    std::transform(of_anchors, of_anchors + anchor_count, anchors.begin(), number);
    std::transform(of_candidates, of_candidates + candidate_count, candidates.begin(), number);
  }
};

/// Owner of HardestColumns for all anchors, padded.
class Hardest {
 public:
  explicit Hardest(int64_t count)
      : positive_value_(static_cast<size_t>(count + kPadding), -kInfinity),
        negative_value_(static_cast<size_t>(count + kPadding), kInfinity),
        positive_index_(static_cast<size_t>(count + kPadding), -1),
        negative_index_(static_cast<size_t>(count + kPadding), -1) {}

  HardestColumns from(int64_t first) {
    return {positive_value_.data() + first, positive_index_.data() + first,
            negative_value_.data() + first, negative_index_.data() + first};
  }

  /// Takes over what is harder in `other`, or as hard with a smaller index.
  void merge(Hardest& other, int64_t count) {
    const HardestColumns mine = from(0), theirs = other.from(0);
    for (int64_t i = 0; i < count; ++i) {
      take(mine.positive_value[i], mine.positive_index[i], -theirs.positive_value[i],
           theirs.positive_index[i], -1.0f);
      take(mine.negative_value[i], mine.negative_index[i], theirs.negative_value[i],
           theirs.negative_index[i], 1.0f);
    }
  }

 private:
  static void take(float& value, int32_t& index, float other, int32_t other_index, float sign) {
    if (other_index < 0) return;
    const float mine = sign * value;
    if (index < 0 || other < mine || (other == mine && other_index < index)) {
      value = sign * other;
      index = other_index;
    }
  }

  std::vector<float> positive_value_, negative_value_;
  std::vector<int32_t> positive_index_, negative_index_;
};

/// Everything the workers share while they search.
struct Search {
  const BatchHardProblem& problem;
  DenseRows candidates;
  bool both_sides;
  PackedRows packed;
  Numbers labels, cameras;
  std::vector<float> anchor_norm, candidate_norm;
  std::vector<int32_t> self;

  explicit Search(const BatchHardProblem& p)
      : problem(p),
        candidates(p.compared()),
        both_sides(p.own_candidates()),
        packed(p.simd, candidates.count, p.dim),
        labels(p.anchor_label, p.anchors.count, both_sides ? p.anchor_label : p.candidate_label,
               candidates.count),
        cameras(p.anchor_camera, p.anchors.count, both_sides ? p.anchor_camera : p.candidate_camera,
                candidates.count),
        candidate_norm(static_cast<size_t>(candidates.count + kPadding), kInfinity),
        self(static_cast<size_t>(p.anchors.count), -1) {
    packed.resize(candidates.count);
    for (int64_t i = 0; i < p.anchors.count; ++i) {
      const int64_t known = p.self_index == nullptr ? -1 : p.self_index[i];
      self[static_cast<size_t>(i)] = static_cast<int32_t>(both_sides ? i : known);
    }
  }

  bool cosine() const { return problem.distance == Distance::kCosine; }

  void pack(int64_t block) {
    packed.pack_block(candidates, block);
    norms(packed, block, candidate_norm.data() + block * packed.block_rows());
  }

  /// Square norms, or inverse norms for the cosine, of one block.
  void norms(const PackedRows& rows, int64_t block, float* out) const {
    dense_square_norms(rows, block, out);
    if (!cosine()) return;
    const int64_t used = std::min(rows.block_rows(), rows.count() - block * rows.block_rows());
    std::transform(out, out + used, out, inverse_norm);
  }

  void measure_anchors() {
    if (both_sides) {
      anchor_norm = candidate_norm;
      return;
    }
    anchor_norm.resize(static_cast<size_t>(problem.anchors.count));
    PackedRows part(problem.simd, packed.block_rows(), problem.dim);
    for (int64_t at = 0; at < problem.anchors.count; at += part.block_rows()) {
      const int64_t rows = std::min(part.block_rows(), problem.anchors.count - at);
      part.pack(problem.anchors.slice(at, rows));
      norms(part, 0, anchor_norm.data() + at);
    }
  }

  /// Anchors that are compared with block `block`: those before the end of the block when each pair
  /// counts for both sides, else all.
  int64_t rows(int64_t block) const {
    const int64_t end = (block + 1) * packed.block_rows();
    return both_sides ? std::min(end, problem.anchors.count) : problem.anchors.count;
  }

  /// Compares anchors [begin, end) with one block of candidates.
  void compare(int64_t block, int64_t begin, int64_t end, float* products, Hardest& best) const {
    const int64_t first = block * packed.block_rows();
    const int64_t stride = kMaxQueryBlock;
    dense_products(problem.anchors.slice(begin, end - begin), packed, block, products, stride);
    HardestTile tile{};
    tile.stride = stride;
    tile.columns = std::min(packed.block_rows(), candidates.count - first);
    tile.first_column = static_cast<int32_t>(first);
    tile.cosine = cosine();
    tile.column_norm = candidate_norm.data() + first;
    tile.column_label = labels.candidates.data() + first;
    tile.column_camera = cameras.candidates.data() + first;
    tile.positive_same = -int32_t{problem.positives != PairRule::kCrossCamera};
    tile.positive_cross = -int32_t{problem.positives != PairRule::kSameCamera};
    tile.negative_same = -int32_t{problem.negatives != PairRule::kCrossCamera};
    tile.negative_cross = -int32_t{problem.negatives != PairRule::kSameCamera};
    const HardestColumns columns = best.from(first);
    // Rows before the block meet it once, for both sides; rows of the block meet each other twice.
    const int64_t border = both_sides ? std::clamp(first, begin, end) : begin;
    const auto select = [&](int64_t from, int64_t to, const HardestColumns* other_side) {
      if (from == to) return;
      tile.products = products + (from - begin) * stride;
      tile.rows = to - from;
      tile.first_row = static_cast<int32_t>(from);
      tile.row_norm = anchor_norm.data() + from;
      tile.row_label = labels.anchors.data() + from;
      tile.row_camera = cameras.anchors.data() + from;
      tile.row_self = self.data() + from;
      tile.row_best = best.from(from);
      tile.column_best = other_side;
      hardest_kernel(problem.simd).select(tile);
    };
    select(begin, border, &columns);
    select(border, end, nullptr);
  }
};

/// Distance of a chosen pair, from the differences of its elements: no cancellation.
float pair_distance(const Search& search, int64_t anchor, int64_t candidate) {
  const BatchHardProblem& p = search.problem;
  const float* const a = p.anchors.data + anchor * p.anchors.stride;
  const float* const b = search.candidates.data + candidate * search.candidates.stride;
  if (search.cosine()) {
    return 1.0f -
           inner_product(a, b, p.dim) * (search.anchor_norm[static_cast<size_t>(anchor)] *
                                         search.candidate_norm[static_cast<size_t>(candidate)]);
  }
  const float square = square_distance(a, b, p.dim);
  if (p.distance == Distance::kSquaredEuclidean) return square;
  return std::sqrt(std::max(square, kLeastSquare));
}

}  // namespace

// Sixteen partial sums: enough for any vector unit, and always the same order.
template <typename Term>
static float sum_of(const float* a, const float* b, int64_t dim, Term term) {
  constexpr int64_t kPartial = 16;
  float sum[kPartial] = {};
  int64_t d = 0;
  for (; d + kPartial <= dim; d += kPartial) {
    for (int64_t i = 0; i < kPartial; ++i) sum[i] += term(a[d + i], b[d + i]);
  }
  for (int64_t i = 0; d + i < dim; ++i) sum[i] += term(a[d + i], b[d + i]);
  for (int64_t half = kPartial / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) sum[i] += sum[i + half];
  }
  return sum[0];
}

float square_distance(const float* a, const float* b, int64_t dim) {
  return sum_of(a, b, dim, [](float x, float y) { return (x - y) * (x - y); });
}

float inner_product(const float* a, const float* b, int64_t dim) {
  return sum_of(a, b, dim, [](float x, float y) { return x * y; });
}

float inverse_norm(float square_norm) { return 1.0f / std::max(std::sqrt(square_norm), 1e-12f); }

void batch_hard(const BatchHardProblem& problem, const HardestPairs& out) {
  const int64_t anchors = problem.anchors.count;
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max() - kPadding;
  if (anchors > kLimit || problem.compared().count > kLimit) {
    throw std::length_error("batch_hard takes fewer than 2^31 rows");
  }
  Search search(problem);
  struct Task {
    int64_t block, begin, end;
  };
  std::vector<Task> tasks;
  double products = 0;
  for (int64_t block = 0; block < search.packed.blocks(); ++block) {
    const int64_t rows = search.rows(block);
    products += static_cast<double>(rows * search.packed.block_rows() * problem.dim);
    for (int64_t begin = 0; begin < rows; begin += kTaskRows) {
      tasks.push_back({block, begin, std::min(begin + kTaskRows, rows)});
    }
  }
  const int workers = static_cast<int>(
      std::clamp<double>(products / kProductsPerThread, 1.0, worker_count(problem.threads)));

  std::atomic<int64_t> next_block{0};
  run_workers(workers, [&](int) {
    for (int64_t b = next_block++; b < search.packed.blocks(); b = next_block++) search.pack(b);
  });
  search.measure_anchors();

  // A worker takes its tasks in ascending order, so for each anchor it meets candidates in
  // ascending order: first as a column (smaller rows), then as a row (its block and later ones).
  std::vector<Hardest> best(static_cast<size_t>(workers), Hardest(anchors));
  std::atomic<size_t> next_task{0};
  run_workers(workers, [&](int worker) {
    std::vector<float> tile(static_cast<size_t>(kTaskRows * kMaxQueryBlock));
    for (size_t t = next_task++; t < tasks.size(); t = next_task++) {
      search.compare(tasks[t].block, tasks[t].begin, tasks[t].end, tile.data(),
                     best[static_cast<size_t>(worker)]);
    }
  });
  for (size_t w = 1; w < best.size(); ++w) best[0].merge(best[w], anchors);

  const HardestColumns found = best[0].from(0);
  std::atomic<int64_t> next_anchor{0};
  run_workers(workers, [&](int) {
    for (int64_t at = next_anchor.fetch_add(kTaskRows); at < anchors;
         at = next_anchor.fetch_add(kTaskRows)) {
      for (int64_t i = at; i < std::min(at + kTaskRows, anchors); ++i) {
        const int32_t positive = found.positive_index[i], negative = found.negative_index[i];
        out.positive_index[i] = positive;
        out.negative_index[i] = negative;
        out.positive_distance[i] = positive < 0 ? -kInfinity : pair_distance(search, i, positive);
        out.negative_distance[i] = negative < 0 ? kInfinity : pair_distance(search, i, negative);
      }
    }
  });
}

}  // namespace crosscam
