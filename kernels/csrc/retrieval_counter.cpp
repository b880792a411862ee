#include "retrieval_counter.h"

#include <algorithm>
#include <functional>

namespace crosscam {

IdentityIndex::IdentityIndex(const RetrievalLabels& labels) : id_(labels.gallery_id) {
  rows_.reserve(static_cast<size_t>(labels.gallery_count));
  for (int64_t row = 0; row < labels.gallery_count; ++row) {
    if (labels.valid == nullptr || labels.valid[row] != 0) rows_.push_back(row);
  }
  std::stable_sort(rows_.begin(), rows_.end(),
                   [this](int64_t a, int64_t b) { return id_[a] < id_[b]; });
}

std::pair<size_t, size_t> IdentityIndex::range(int64_t id) const {
  const auto before = [this](int64_t row, int64_t value) { return id_[row] < value; };
  const auto after = [this](int64_t value, int64_t row) { return value < id_[row]; };
  const auto first = std::lower_bound(rows_.begin(), rows_.end(), id, before);
  const auto last = std::upper_bound(first, rows_.end(), id, after);
  return {static_cast<size_t>(first - rows_.begin()), static_cast<size_t>(last - rows_.begin())};
}

bool is_positive(const RetrievalLabels& labels, int64_t query, int64_t row) {
  if (labels.protocol == RetrievalProtocol::kAny) return true;
  if (labels.query_group[query] == labels.gallery_group[row]) return false;
  if (labels.protocol == RetrievalProtocol::kStandard) return true;
  const bool same = labels.query_clothes[query] == labels.gallery_clothes[row];
  return same == (labels.protocol == RetrievalProtocol::kSameClothes);
}

void RankCounter::sort() { std::sort(keys_.begin(), keys_.end(), std::greater<>()); }

size_t RankCounter::place(uint64_t key) const {
  // A binary search whose steps are moves, not branches: the outcome of each is a coin toss.
  const uint64_t* from = keys_.data();
  size_t left = keys_.size();
  while (left > 1) {
    const size_t half = left / 2;
    from += from[half - 1] >= key ? half : 0;
    left -= half;
  }
  return static_cast<size_t>(from - keys_.data()) + (left == 1 && *from >= key ? 1 : 0);
}

void RankCounter::finish(const int64_t* counts, const RetrievalResult& result,
                         int64_t query) const {
  result.positives[query] = static_cast<int64_t>(keys_.size());
  result.first_rank[query] = result.last_rank[query] = 0;
  double sum = 0.0;
  int64_t rank = 1;
  for (size_t i = 0; i < keys_.size(); ++i) {
    rank += counts[i];
    if (i == 0) result.first_rank[query] = rank;
    sum += static_cast<double>(i + 1) / static_cast<double>(rank);
  }
  if (!keys_.empty()) result.last_rank[query] = rank;
  result.average_precision[query] = keys_.empty() ? std::numeric_limits<double>::quiet_NaN()
                                                  : sum / static_cast<double>(keys_.size());
}

}  // namespace crosscam
