#include "memory_gradient.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "dense.h"
#include "parallel.h"

namespace crosscam {
namespace {

constexpr int64_t kSlabFloats = 4 << 20;  // weights kept at one time by the second pass
constexpr int64_t kSlabGroups = 40;

void copy_finite(const float* from, int64_t count, float* to) {
  for (int64_t d = 0; d < count; ++d) to[d] = from[d] - from[d] == 0.0f ? from[d] : 0.0f;
}

/// Coefficients of the gradient of each packed sample.
struct Coefficients {
  std::vector<float> lse, factor, smooth, pull;

  Coefficients(const MemoryProblem& problem, const SampleBlocks& blocks,
               const MemoryStatistics& statistics) {
    const auto size = static_cast<size_t>(blocks.blocks() * blocks.capacity());
    for (auto* values : {&lse, &factor, &smooth, &pull}) values->assign(size, 0.0f);
    for (int64_t place = 0; place < blocks.count(); ++place) {
      const int64_t i = blocks.row(place);
      if (statistics.positives[i] == 0) continue;
      const auto at = static_cast<size_t>(place);
      const double scaled = 1.0 / static_cast<double>(problem.temperature);
      const double smoothing = problem.label_smoothing;
      lse[at] = statistics.lse[i];
      factor[at] = static_cast<float>(scaled);
      pull[at] = static_cast<float>(scaled * (1.0 - smoothing) /
                                    static_cast<double>(statistics.positives[i]));
      if (smoothing != 0) {
        smooth[at] =
            static_cast<float>(scaled * smoothing / static_cast<double>(statistics.allowed[i]));
      }
    }
  }

  /// Bits of the samples of a block that have a loss.
  uint64_t counted(const SampleBlocks& blocks, const MemoryStatistics& statistics,
                   int64_t block) const {
    uint64_t bits = 0;
    for (int q = 0; q < blocks.samples(block); ++q) {
      const bool has = statistics.positives[blocks.row(blocks.first(block) + q)] != 0;
      bits |= static_cast<uint64_t>(has) << q;
    }
    return bits;
  }
};

/// For each block, its samples' hard negatives by row.
class ChosenRows {
 public:
  ChosenRows(const MemoryProblem& problem, const SampleBlocks& blocks,
             const MemoryStatistics& statistics)
      : rows_(static_cast<size_t>(blocks.blocks())) {
    for (int64_t b = 0; b < blocks.blocks(); ++b) {
      auto& rows = rows_[static_cast<size_t>(b)];
      for (int q = 0; q < blocks.samples(b); ++q) {
        const int64_t* const chosen =
            statistics.negatives + blocks.row(blocks.first(b) + q) * problem.hard_negatives;
        for (int64_t n = 0; n < problem.hard_negatives && chosen[n] >= 0; ++n) {
          rows.push_back({chosen[n], uint64_t{1} << q});
        }
      }
      std::sort(rows.begin(), rows.end());
    }
  }

  uint64_t bits(int64_t block, int64_t row) const {
    const auto& rows = rows_[static_cast<size_t>(block)];
    uint64_t bits = 0;
    for (auto at = std::lower_bound(rows.begin(), rows.end(), std::pair{row, uint64_t{0}});
         at != rows.end() && at->first == row; ++at) {
      bits |= at->second;
    }
    return bits;
  }

 private:
  std::vector<std::vector<std::pair<int64_t, uint64_t>>> rows_;
};

}  // namespace

void KeptGroup::keep(const Group& group) {
  count = group.count;
  std::copy_n(group.indices, count, indices);
  std::copy_n(group.positive, count, positive);
  std::copy_n(group.allowed, count, allowed);
}

bool KeptGroup::same_rows(const KeptGroup& other) const {
  return count == other.count && std::equal(indices, indices + count, other.indices);
}

void add_weighted_rows(const MemoryProblem& problem, const SampleBlocks& blocks, WeightSlab& slab,
                       int64_t groups, int workers, const RowSums& sums) {
  const int64_t dim = problem.samples.dim;
  const int64_t chunk = dense_kernels(problem.simd).width;
  const int64_t chunks = (dim + chunk - 1) / chunk;
  // A panel of rows is copied once for all blocks, unless that leaves workers without work.
  const int64_t parts = std::clamp<int64_t>(workers / chunks, 1, slab.block_count());
  std::atomic<int64_t> next{0};
  run_workers(workers, [&](int) {
    std::vector<float> panel(static_cast<size_t>(kGroupRows * chunk));
    for (int64_t unit = next++; unit < chunks * parts; unit = next++) {
      const int64_t part = unit % parts, from = unit / parts * chunk;
      const int64_t begin = slab.first_block() + part * slab.block_count() / parts;
      const int64_t end = slab.first_block() + (part + 1) * slab.block_count() / parts;
      const int64_t used = std::min(chunk, dim - from);
      const int64_t last = end == begin ? 0 : blocks.first(end - 1) + blocks.samples(end - 1);
      for (int64_t place = blocks.first(begin); sums.rescale != nullptr && place < last; ++place) {
        const float factor = sums.rescale[place];
        if (factor == 1.0f) continue;
        float* const sum = sums.weighted + place * dim + from;
        for (int64_t d = 0; d < used; ++d) sum[d] *= factor;
      }
      for (int64_t at = 0; at < groups; ++at) {
        const KeptGroup* copied = nullptr;
        for (int64_t block = begin; block < end; ++block) {
          const KeptGroup& kept = slab.kept(block, at);
          if (copied == nullptr || !copied->same_rows(kept)) {
            for (int r = 0; r < kept.count; ++r) {
              copy_finite(problem.bank.rows + kept.indices[r] * problem.bank.stride + from, used,
                          panel.data() + r * chunk);
            }
            copied = &kept;
          }
          const int64_t first = blocks.first(block);
          dense_accumulate(problem.simd, {slab.weights(block, at), 1, blocks.width(block)},
                           blocks.samples(block), {panel.data(), kept.count, chunk}, used,
                           sums.weighted + first * dim + from, dim);
          for (int r = 0; sums.positive != nullptr && r < kept.count; ++r) {
            for (uint64_t bits = kept.positive[r]; bits != 0; bits &= bits - 1) {
              float* const sum = sums.positive + (first + __builtin_ctzll(bits)) * dim + from;
              for (int64_t d = 0; d < used; ++d) sum[d] += panel[r * chunk + d];
            }
          }
        }
      }
    }
  });
}

void memory_infonce_second_pass(const MemoryProblem& problem, const MemoryStatistics& statistics,
                                float* gradient) {
  const int64_t dim = problem.samples.dim;
  std::fill_n(gradient, problem.samples.count * dim, 0.0f);
  const TopkKernels& kernels = topk_kernels(problem.simd);
  const InfonceKernels& infonce = infonce_kernels(problem.simd);
  const SampleBlocks blocks = pack(problem, kernels);
  if (blocks.count() == 0 || problem.bank.count == 0) return;
  const BankMasks masks(problem, blocks);
  const Coefficients of(problem, blocks, statistics);
  const bool hard = problem.hard_negatives >= 0;
  MemoryProblem only = problem;
  if (!hard) only.hard_negatives = 0;
  const ChosenRows chosen(only, blocks, statistics);

  const int64_t packed = blocks.blocks() * blocks.capacity();
  const int64_t groups = (problem.bank.count + kGroupRows - 1) / kGroupRows;
  WeightSlab slab(
      blocks, 0, blocks.blocks(),
      std::clamp<int64_t>(kSlabFloats / (kGroupRows * packed), 1, std::min(kSlabGroups, groups)));
  std::vector<float> sums(static_cast<size_t>(blocks.count() * dim), 0.0f);
  const int workers = infonce_workers(multiply_adds(problem), kernels.lanes, problem.threads);

  for (int64_t begin = 0; begin < groups; begin += slab.groups()) {
    const int64_t here = std::min(slab.groups(), groups - begin);
    std::atomic<int64_t> next{0};
    run_workers(workers, [&](int) {  // weights = d loss / d score of the slab
      BankMasks::Cursor cursor(masks, blocks);
      Group group;
      for (int64_t unit = next++; unit < here * blocks.blocks(); unit = next++) {
        const int64_t block = unit % blocks.blocks(), at = unit / blocks.blocks();
        const int64_t first = blocks.first(block);
        const int width = blocks.width(block);
        const uint64_t counted = of.counted(blocks, statistics, block);
        cursor.enter(block);
        group.clear();
        const int64_t from = (begin + at) * kGroupRows;
        for (int64_t j = from; j < std::min(problem.bank.count, from + kGroupRows); ++j) {
          uint64_t positive = 0, negative = 0;
          cursor.row(j, positive, negative);
          if (hard) negative = chosen.bits(block, j);
          positive &= counted;
          negative &= counted;
          if ((positive | negative) == 0) continue;
          group.push(problem.bank.rows + j * problem.bank.stride, j, positive, positive | negative);
        }
        score_rows(kernels, blocks, block, dim, group.rows, group.count, group.threshold.data(),
                   group.scores, group.hits);
        float* const out = slab.weights(block, at);
        infonce.softmax_weights({{group.scores, group.allowed, group.count, width},
                                 1.0f / problem.temperature,
                                 of.lse.data() + first,
                                 of.factor.data() + first,
                                 of.smooth.data() + first,
                                 out});
        for (int r = 0; r < group.count; ++r) {
          for (uint64_t bits = group.positive[r]; bits != 0; bits &= bits - 1) {
            const int q = __builtin_ctzll(bits);
            out[r * width + q] -= of.pull[static_cast<size_t>(first + q)];
          }
        }
        slab.kept(block, at).keep(group);
      }
    });
    add_weighted_rows(problem, blocks, slab, here, workers, {sums.data(), nullptr, nullptr});
  }
  for (int64_t place = 0; place < blocks.count(); ++place) {
    std::copy_n(sums.data() + place * dim, dim, gradient + blocks.row(place) * dim);
  }
}

}  // namespace crosscam
