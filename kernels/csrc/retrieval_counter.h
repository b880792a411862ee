#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "rank_key.h"
#include "retrieval.h"

namespace crosscam {

/// Gallery rows by identity.
class IdentityIndex {
 public:
  explicit IdentityIndex(const RetrievalLabels& labels);

  /// The valid gallery rows of identity `id`, ascending: rows()[first .. second).
  std::pair<size_t, size_t> range(int64_t id) const;
  const std::vector<int64_t>& rows() const { return rows_; }

 private:
  const int64_t* id_;
  std::vector<int64_t> rows_;  // sorted by (identity, row)
};

/// True when gallery row `row`, which has the identity of query `query`, is a right answer to it.
bool is_positive(const RetrievalLabels& labels, int64_t query, int64_t row);

/// The right answers of one query and how many gallery rows come between them.
///
/// First every gallery row of the query's identity is announced by `own`, and `sort` ends that.
/// Then each valid row, those of `own` included, is counted at its place; `uncount_junk` takes back
/// the rows that the protocol leaves out.
class RankCounter {
 public:
  void own(uint64_t key, bool positive) { (positive ? keys_ : junk_).push_back(key); }
  void sort();
  void uncount_junk(int64_t* counts) const {
    for (const uint64_t key : junk_) --counts[place(key)];
  }

  size_t size() const { return keys_.size(); }
  /// Number of right answers that come before `key` or are it.
  size_t place(uint64_t key) const;
  /// Rows whose score is below this come after every right answer. NaN: none does.
  float lowest() const {
    return keys_.empty() ? std::numeric_limits<float>::infinity() : key_score(keys_.back());
  }

  /// Writes the result of query `query`; `counts` has size() + 1 entries.
  void finish(const int64_t* counts, const RetrievalResult& result, int64_t query) const;

 private:
  std::vector<uint64_t> keys_;  // descending once sorted
  std::vector<uint64_t> junk_;
};

}  // namespace crosscam
