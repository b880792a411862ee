#include "infonce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "parallel.h"

namespace crosscam {
namespace {

constexpr double kStepsPerThread = 250e3;  // vector multiply-adds below which a thread costs more

}  // namespace

SampleBlocks::SampleBlocks(const Samples& samples, const TopkKernels& kernels, bool by_camera)
    : block_(kernels.lanes * kernels.max_vectors), lanes_(kernels.lanes), dim_(samples.dim) {
  for (int64_t i = 0; i < samples.count; ++i) {
    if (samples.targets[i] >= 0) order_.push_back(i);
  }
  if (by_camera) {
    std::stable_sort(order_.begin(), order_.end(),
                     [&](int64_t a, int64_t b) { return samples.cameras[a] < samples.cameras[b]; });
  }
  storage_.assign(static_cast<size_t>((count() + lanes_ - 1) / lanes_ * lanes_ * dim_), 0.0f);
  for (int64_t b = 0; b < blocks(); ++b) {
    float* const to = storage_.data() + b * block_ * dim_;
    for (int q = 0; q < this->samples(b); ++q) {
      const float* const from = samples.features + row(first(b) + q) * samples.stride;
      for (int64_t d = 0; d < dim_; ++d) to[d * width(b) + q] = from[d];
    }
  }
}

int SampleBlocks::samples(int64_t b) const {
  return static_cast<int>(std::min<int64_t>(block_, count() - first(b)));
}

int SampleBlocks::width(int64_t b) const { return (samples(b) + lanes_ - 1) / lanes_ * lanes_; }

uint64_t SampleBlocks::bits(int64_t b) const { return ~uint64_t{0} >> (64 - samples(b)); }

template <typename T>
ValueBits<T>::ValueBits(const SampleBlocks& blocks, const T* column) {
  if (column == nullptr) return;
  ids_.reserve(static_cast<size_t>(blocks.count()));
  for (int64_t place = 0; place < blocks.count(); ++place) {
    const auto next = static_cast<int32_t>(number_.size());
    ids_.push_back(number_.try_emplace(column[blocks.row(place)], next).first->second);
  }
}

template <typename T>
int32_t ValueBits<T>::id(T value) const {
  const auto found = number_.find(value);
  return found == number_.end() ? -1 : found->second;
}

template <typename T>
void BlockBits<T>::enter(int64_t b) {
  if (b == block_ || bits_.empty()) return;
  if (block_ >= 0) {
    for (int q = 0; q < blocks_.samples(block_); ++q) {
      bits_[static_cast<size_t>(values_.id_at(blocks_.first(block_) + q))] = 0;
    }
  }
  for (int q = 0; q < blocks_.samples(b); ++q) {
    bits_[static_cast<size_t>(values_.id_at(blocks_.first(b) + q))] |= uint64_t{1} << q;
  }
  block_ = b;
}

template class ValueBits<int32_t>;
template class ValueBits<int64_t>;
template class BlockBits<int32_t>;
template class BlockBits<int64_t>;

void LseAccumulator::begin(int width) {
  std::fill_n(max_, width, std::numeric_limits<float>::lowest());
  std::fill_n(sum_, width, 0.0f);
  std::fill_n(share_, width, PartialLse{});
}

void LseAccumulator::add(const ScoreGroup& group, const uint64_t* positive) {
  if (group.rows == 0) return;
  kernels_.add_exponentials({group, scale_, max_, sum_});
  for (int r = 0; r < group.rows; ++r) {
    const float* const scores = group.scores + r * group.width;
    for (uint64_t bits = positive[r]; bits != 0; bits &= bits - 1) {
      const int q = __builtin_ctzll(bits);
      share_[q].positive += static_cast<double>(scores[q]) * scale_;
      ++share_[q].positives;
    }
    if (!with_total_) continue;
    for (uint64_t bits = group.allowed[r]; bits != 0; bits &= bits - 1) {
      const int q = __builtin_ctzll(bits);
      share_[q].total += static_cast<double>(scores[q]) * scale_;
      ++share_[q].allowed_rows;
    }
  }
}

void LseAccumulator::finish(int samples, PartialLse* out) const {
  for (int q = 0; q < samples; ++q) {
    out[q] = share_[q];
    out[q].max = max_[q];
    out[q].sum = sum_[q];
  }
}

void merge(PartialLse& whole, const PartialLse& share) {
  const float max = std::max(whole.max, share.max);
  const auto scaled = [max](const PartialLse& part) {
    return part.sum == 0.0f ? 0.0f : part.sum * std::exp(part.max - max);
  };
  whole.sum = scaled(whole) + scaled(share);
  whole.max = max;
  whole.positive += share.positive;
  whole.total += share.total;
  whole.positives += share.positives;
  whole.allowed_rows += share.allowed_rows;
}

int infonce_workers(double multiply_adds, int lanes, int requested) {
  return static_cast<int>(std::clamp<double>(multiply_adds / lanes / kStepsPerThread, 1.0,
                                             static_cast<double>(worker_count(requested))));
}

void score_rows(const TopkKernels& kernels, const SampleBlocks& blocks, int64_t block, int64_t dim,
                std::vector<const void*>& rows, int count, const float* threshold, float* scores,
                uint64_t* hits) {
  if (count == 0) return;
  const int width = blocks.width(block);
  const int vectors = width / kernels.lanes;
  const int height = kernels.tile_rows[vectors - 1];
  std::fill_n(rows.begin() + count, 2 * kMaxTileRows, rows[static_cast<size_t>(count - 1)]);
  TopkTile tile{};
  tile.queries = blocks.data(block);
  tile.words = dim;
  tile.threshold = threshold;
  for (int at = 0; at < count; at += height) {
    tile.rows = rows.data() + at;
    tile.next = rows.data() + std::min(at + height, count);
    tile.similarity = scores + at * width;
    tile.hits = hits + at;
    kernels.tile[vectors - 1](tile);
  }
}

}  // namespace crosscam
