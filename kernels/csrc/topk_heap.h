#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace crosscam {

/// A gallery row found for a query.
struct Candidate {
  float similarity;
  int64_t index;
};

/// The total order of results: similarity descending, then index ascending.
inline bool better(const Candidate& a, const Candidate& b) {
  return a.similarity != b.similarity ? a.similarity > b.similarity : a.index < b.index;
}

/// The best `k` candidates seen so far, the worst of them at the root.
class TopkHeap {
 public:
  /// Value that a similarity must exceed to enter, given that indices come in ascending order.
  float threshold(size_t k) const {
    return items_.size() < k ? -std::numeric_limits<float>::infinity() : items_.front().similarity;
  }

  /// Adds `item` and drops the worst when there are more than `k`. k must be positive.
  void push(const Candidate& item, size_t k) {
    if (items_.size() < k) {
      items_.push_back(item);
      std::push_heap(items_.begin(), items_.end(), better);
      return;
    }
    if (!better(item, items_.front())) return;
    size_t hole = 0;  // sift down by hand: pop_heap and push_heap would walk the tree twice
    while (true) {
      size_t child = 2 * hole + 1;
      if (child >= k) break;
      if (child + 1 < k && better(items_[child], items_[child + 1])) ++child;
      if (!better(item, items_[child])) break;
      items_[hole] = items_[child];
      hole = child;
    }
    items_[hole] = item;
  }

  const std::vector<Candidate>& items() const { return items_; }

 private:
  std::vector<Candidate> items_;
};

}  // namespace crosscam
