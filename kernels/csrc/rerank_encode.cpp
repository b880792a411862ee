#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "rerank.h"
#include "simd_kernels.h"

namespace crosscam {
namespace {

constexpr int64_t kRowsPerTask = 64;

using Members = std::vector<int32_t>;
struct Entry {
  int32_t column;
  float value;
};
using Row = std::vector<Entry>;

/// The k nearest rows that have this row among their k nearest: R(row, k).
void append_reciprocal(const NeighbourLists& lists, int64_t row, int64_t k, Members& out) {
  const int64_t reach = std::min(k, lists.width);
  const int64_t* const forward = lists.index + row * lists.width;
  for (int64_t a = 0; a < reach && forward[a] >= 0; ++a) {
    const int64_t* const backward = lists.index + forward[a] * lists.width;
    if (std::find(backward, backward + reach, row) != backward + reach) {
      out.push_back(static_cast<int32_t>(forward[a]));
    }
  }
}

/// A set of rows that is emptied in constant time.
class Marks {
 public:
  explicit Marks(int64_t count) : stamp_(static_cast<size_t>(count), 0) {}
  void clear() {
    if (++now_ == 0) {
      std::fill(stamp_.begin(), stamp_.end(), 0);
      now_ = 1;
    }
  }
  /// Adds `row`; false when it was there already.
  bool add(int32_t row) {
    uint32_t& stamp = stamp_[static_cast<size_t>(row)];
    return stamp != now_ && ((stamp = now_), true);
  }
  bool has(int32_t row) const { return stamp_[static_cast<size_t>(row)] == now_; }

 private:
  std::vector<uint32_t> stamp_;
  uint32_t now_ = 0;
};

/// One thread's scratch memory and the steps for one row.
class Encoder {
 public:
  explicit Encoder(const RerankProblem& problem)
      : problem_(problem),
        kernels_(row_kernels(problem.simd)),
        marks_(problem.count),
        known_(problem.count),
        similarity_(static_cast<size_t>(problem.count)),
        sum_(static_cast<size_t>(problem.count), 0.0f) {}

  /// The row's neighbours R*(row): R(row, k1) joined by the sets R(j, k1 / 2) of its members that
  /// share more than two thirds with it (Zhong et al., Eq. 5). Camera-aware, what `full` holds is
  /// final.
  Members neighbours(int64_t row, const std::vector<Members>& full,
                     const std::vector<Members>& half) {
    const Members& own = full[static_cast<size_t>(row)];
    Members found = own;
    marks_.clear();
    for (const int32_t j : own) marks_.add(j);
    for (size_t a = 0; a < own.size() && !problem_.camera_aware; ++a) {
      const Members& joining = half[static_cast<size_t>(own[a])];
      const auto common =
          std::count_if(joining.begin(), joining.end(), [&](int32_t j) { return marks_.has(j); });
      if (3 * common > 2 * static_cast<int64_t>(joining.size())) {
        found.insert(found.end(), joining.begin(), joining.end());
      }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
  }

  /// exp(-d) of each member, scaled to sum 1 (Zhong et al., Eq. 7 and 10).
  Row weights(int64_t row, const Members& members) {
    known_.clear();
    if (problem_.camera_aware) {
      remember(problem_.intra, row);
      remember(problem_.inter, row);
    } else {
      remember(problem_.all, row);
    }
    score_unknown(row, members);
    double total = 0.0;
    weight_.clear();
    for (const int32_t j : members) {
      const float d = problem_.metric.distance(row, similarity_[static_cast<size_t>(j)]);
      weight_.push_back(std::exp(-static_cast<double>(d)));
      total += weight_.back();
    }
    Row out;
    out.reserve(members.size());
    for (size_t a = 0; a < members.size(); ++a) {
      out.push_back({members[a], static_cast<float>(weight_[a] / total)});
    }
    return out;
  }

  /// The mean of the weights of the nearest rows: Zhong et al., Eq. 11; camera-aware, of the
  /// nearest within and across cameras (Chen et al., section 3.3).
  Row expanded(int64_t row, const std::vector<Row>& rows) {
    marks_.clear();
    touched_.clear();
    int64_t used = 0;
    const auto add = [&](const NeighbourLists& lists, int64_t k) {
      const int64_t* const near = lists.index + row * lists.width;
      for (int64_t a = 0; a < std::min(k, lists.width) && near[a] >= 0; ++a, ++used) {
        for (const Entry& entry : rows[static_cast<size_t>(near[a])]) {
          if (marks_.add(entry.column)) touched_.push_back(entry.column);
          sum_[static_cast<size_t>(entry.column)] += entry.value;
        }
      }
    };
    if (problem_.camera_aware) {
      add(problem_.intra, problem_.k2_intra);
      add(problem_.inter, problem_.k2_inter);
    } else {
      add(problem_.all, problem_.k2);
    }
    std::sort(touched_.begin(), touched_.end());
    Row out;
    out.reserve(touched_.size());
    for (const int32_t column : touched_) {
      float& sum = sum_[static_cast<size_t>(column)];
      out.push_back({column, sum / static_cast<float>(used)});
      sum = 0.0f;
    }
    return out;
  }

 private:
  void remember(const NeighbourLists& lists, int64_t row) {
    for (int64_t a = 0; a < lists.width; ++a) {
      const int64_t j = lists.index[row * lists.width + a];
      if (j < 0) break;
      known_.add(static_cast<int32_t>(j));
      similarity_[static_cast<size_t>(j)] = lists.similarity[row * lists.width + a];
    }
  }

  /// Members that came by way of others are not in the row's own lists. Their similarity is made
  /// by the kernel of similarity_topk, so it has the bits it would have there.
  void score_unknown(int64_t row, const Members& members) {
    const RerankMetric& metric = problem_.metric;
    unknown_.clear();
    for (const int32_t j : members) {
      if (!known_.has(j)) unknown_.push_back(j);
    }
    if (unknown_.empty()) return;
    const float* const left = metric.left + row * metric.left_stride;
    const float* rows[kChainRows];
    float score[kChainRows];
    for (size_t at = 0; at < unknown_.size(); at += kChainRows) {
      for (size_t r = 0; r < kChainRows; ++r) {
        const int64_t j = unknown_[std::min(at + r, unknown_.size() - 1)];
        rows[r] = metric.right + j * metric.right_stride;
      }
      kernels_.chain(rows, left, metric.dim, score);
      for (size_t r = 0; r < std::min<size_t>(kChainRows, unknown_.size() - at); ++r) {
        similarity_[static_cast<size_t>(unknown_[at + r])] = score[r];
      }
    }
  }

  const RerankProblem& problem_;
  const RowKernels& kernels_;
  Marks marks_, known_;
  std::vector<float> similarity_, sum_;
  std::vector<double> weight_;
  Members touched_, unknown_;
};

/// Runs body(encoder, row) for every row, on several threads.
template <typename Body>
void for_each_row(const RerankProblem& problem, const Body& body) {
  std::atomic<int64_t> next{0};
  const int64_t tasks = (problem.count + kRowsPerTask - 1) / kRowsPerTask;
  const auto workers = static_cast<int>(std::min<int64_t>(worker_count(problem.threads), tasks));
  run_workers(workers, [&](int) {
    Encoder encoder(problem);
    for (int64_t at = kRowsPerTask * next++; at < problem.count; at = kRowsPerTask * next++) {
      const int64_t end = std::min(at + kRowsPerTask, problem.count);
      for (int64_t row = at; row < end; ++row) body(encoder, row);
    }
  });
}

SparseRows joined(const std::vector<Row>& rows) {
  SparseRows out;
  out.begin.push_back(0);
  for (const Row& row : rows)
    out.begin.push_back(out.begin.back() + static_cast<int64_t>(row.size()));
  out.column.reserve(static_cast<size_t>(out.begin.back()));
  out.value.reserve(static_cast<size_t>(out.begin.back()));
  for (const Row& row : rows) {
    for (const Entry& entry : row) {
      out.column.push_back(entry.column);
      out.value.push_back(entry.value);
    }
  }
  return out;
}

}  // namespace

SparseRows rerank_encode(const RerankProblem& problem) {
  const auto count = static_cast<size_t>(problem.count);
  std::vector<Members> full(count), half(problem.camera_aware ? 0 : count);
  for_each_row(problem, [&](Encoder&, int64_t row) {
    const auto i = static_cast<size_t>(row);
    if (problem.camera_aware) {
      append_reciprocal(problem.intra, row, problem.k1_intra + 1, full[i]);
      append_reciprocal(problem.inter, row, problem.k1_inter + 1, full[i]);
    } else {
      append_reciprocal(problem.all, row, problem.k1 + 1, full[i]);
      append_reciprocal(problem.all, row, problem.half_k1 + 1, half[i]);
    }
  });
  std::vector<Row> weights(count);
  for_each_row(problem, [&](Encoder& encoder, int64_t row) {
    weights[static_cast<size_t>(row)] = encoder.weights(row, encoder.neighbours(row, full, half));
  });
  if (!problem.camera_aware && problem.k2 <= 1) return joined(weights);
  std::vector<Row> expanded(count);
  for_each_row(problem, [&](Encoder& encoder, int64_t row) {
    expanded[static_cast<size_t>(row)] = encoder.expanded(row, weights);
  });
  return joined(expanded);
}

}  // namespace crosscam
