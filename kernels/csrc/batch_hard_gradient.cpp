#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "batch_hard.h"
#include "parallel.h"

namespace crosscam {
namespace {

constexpr int64_t kRowsPerStep = 32;
constexpr double kElementsPerThread = 1.0e5;

/// The chosen pairs in the order of their candidate, then of their anchor.
class ChosenBy {
 public:
  struct Pair {
    int64_t anchor;
    float factor;
  };

  ChosenBy(int64_t anchors, int64_t candidates, const ChosenPairs& pairs,
           const std::vector<float>& positive, const std::vector<float>& negative)
      : start_(static_cast<size_t>(candidates + 1)) {
    const auto visit = [&](const auto& each) {
      for (int64_t i = 0; i < anchors; ++i) {
        const auto at = static_cast<size_t>(i);
        if (positive[at] != 0.0f) each(pairs.positive_index[i], i, positive[at]);
        if (negative[at] != 0.0f) each(pairs.negative_index[i], i, negative[at]);
      }
    };
    visit([&](int64_t to, int64_t, float) { ++start_[static_cast<size_t>(to) + 1]; });
    for (size_t j = 1; j < start_.size(); ++j) start_[j] += start_[j - 1];
    pairs_.resize(start_.back());
    std::vector<size_t> next(start_.begin(), start_.end() - 1);
    visit([&](int64_t to, int64_t anchor, float factor) {
      pairs_[next[static_cast<size_t>(to)]++] = {anchor, factor};
    });
  }

  const Pair* begin(int64_t candidate) const {
    return pairs_.data() + start_[static_cast<size_t>(candidate)];
  }
  const Pair* end(int64_t candidate) const {
    return pairs_.data() + start_[static_cast<size_t>(candidate) + 1];
  }

 private:
  std::vector<size_t> start_;
  std::vector<Pair> pairs_;
};

/// The gradient of a row is a sum over the pairs it is in. With the difference of the two rows for
/// Euclidean distances, d |a - b| / da = (a - b) / |a - b|; with the other row, normalised, for the
/// cosine, whose sum then passes back through the normalisation of the row.
class RowGradient {
 public:
  RowGradient(const BatchHardProblem& problem, const ChosenPairs& pairs, const PairWeights& weights)
      : problem_(problem), pairs_(pairs) {
    const bool cosine = problem.distance == Distance::kCosine;
    if (cosine) {
      measure(problem.anchors, anchor_norm_);
      if (!problem.own_candidates()) measure(problem.candidates, candidate_norm_);
    }
    const auto factors = [&](const float* weight, const int64_t* index, const float* distance) {
      std::vector<float> out(static_cast<size_t>(problem.anchors.count));
      for (int64_t i = 0; i < problem.anchors.count; ++i) {
        if (index[i] >= 0) out[static_cast<size_t>(i)] = factor(weight[i], distance[i]);
      }
      return out;
    };
    positive_ = factors(weights.positive, pairs.positive_index, pairs.positive_distance);
    negative_ = factors(weights.negative, pairs.negative_index, pairs.negative_distance);
  }

  const std::vector<float>& positive() const { return positive_; }
  const std::vector<float>& negative() const { return negative_; }

  /// Adds the pairs that anchor `i` chose; false when there are none.
  bool add_own(int64_t i, float* out) const {
    const auto at = static_cast<size_t>(i);
    const float* const row = anchor(i);
    if (positive_[at] != 0.0f) {
      add(row, candidate(pairs_.positive_index[i]), positive_[at],
          candidate_norm(pairs_.positive_index[i]), out);
    }
    if (negative_[at] != 0.0f) {
      add(row, candidate(pairs_.negative_index[i]), negative_[at],
          candidate_norm(pairs_.negative_index[i]), out);
    }
    return positive_[at] != 0.0f || negative_[at] != 0.0f;
  }

  /// Adds the pairs in which candidate `j` was chosen; false when there are none.
  bool add_chosen(int64_t j, const ChosenBy& by, float* out) const {
    for (const ChosenBy::Pair* pair = by.begin(j); pair != by.end(j); ++pair) {
      add(candidate(j), anchor(pair->anchor), pair->factor, anchor_norm(pair->anchor), out);
    }
    return by.begin(j) != by.end(j);
  }

  /// Turns the gradient of a normalised row into that of the row; nothing to do but for the cosine.
  void finish(const float* row, float inverse, float* out) const {
    if (problem_.distance != Distance::kCosine) return;
    // Rows shorter than the smallest norm are divided by a constant.
    const bool constant = inverse == inverse_norm(0.0f);
    const float along = constant ? 0.0f : inner_product(row, out, problem_.dim) * inverse * inverse;
    for (int64_t d = 0; d < problem_.dim; ++d) out[d] = (out[d] - along * row[d]) * inverse;
  }

  const float* anchor(int64_t i) const {
    return problem_.anchors.data + i * problem_.anchors.stride;
  }
  const float* candidate(int64_t j) const {
    const DenseRows& rows = problem_.compared();
    return rows.data + j * rows.stride;
  }
  float anchor_norm(int64_t i) const { return value_or_one(anchor_norm_, i); }
  float candidate_norm(int64_t j) const {
    return value_or_one(problem_.own_candidates() ? anchor_norm_ : candidate_norm_, j);
  }

 private:
  static float value_or_one(const std::vector<float>& values, int64_t i) {
    return values.empty() ? 1.0f : values[static_cast<size_t>(i)];
  }

  void measure(const DenseRows& rows, std::vector<float>& out) const {
    out.resize(static_cast<size_t>(rows.count));
    for (int64_t i = 0; i < rows.count; ++i) {
      const float* const row = rows.data + i * rows.stride;
      out[static_cast<size_t>(i)] = inverse_norm(inner_product(row, row, problem_.dim));
    }
  }

  /// What the sum over pairs is multiplied with, from dL / d distance.
  float factor(float weight, float distance) const {
    switch (problem_.distance) {
      case Distance::kCosine:
        return -weight;
      case Distance::kSquaredEuclidean:
        return 2.0f * weight;
      case Distance::kEuclidean:
        break;
    }
    return distance > std::sqrt(kLeastSquare) ? weight / distance : 0.0f;
  }

  void add(const float* row, const float* other, float factor, float other_norm, float* out) const {
    if (problem_.distance == Distance::kCosine) {
      const float scale = factor * other_norm;
      for (int64_t d = 0; d < problem_.dim; ++d) out[d] += scale * other[d];
    } else {
      for (int64_t d = 0; d < problem_.dim; ++d) out[d] += factor * (row[d] - other[d]);
    }
  }

  const BatchHardProblem& problem_;
  const ChosenPairs& pairs_;
  std::vector<float> anchor_norm_, candidate_norm_;  // inverse norms, for the cosine
  std::vector<float> positive_, negative_;
};

}  // namespace

void batch_hard_gradient(const BatchHardProblem& problem, const ChosenPairs& pairs,
                         const PairWeights& weights, float* anchor_gradient,
                         float* candidate_gradient) {
  const int64_t anchors = problem.anchors.count, candidates = problem.compared().count;
  const int64_t dim = problem.dim;
  const RowGradient gradient(problem, pairs, weights);
  const ChosenBy chosen(anchors, candidates, pairs, gradient.positive(), gradient.negative());
  const bool own = problem.own_candidates();
  const double elements = 4.0 * static_cast<double>(anchors) * static_cast<double>(dim);
  const int workers = static_cast<int>(
      std::clamp<double>(elements / kElementsPerThread, 1.0, worker_count(problem.threads)));
  std::atomic<int64_t> next{0};
  const int64_t rows = own ? anchors : anchors + candidates;
  run_workers(workers, [&](int) {
    for (int64_t at = next.fetch_add(kRowsPerStep); at < rows; at = next.fetch_add(kRowsPerStep)) {
      for (int64_t r = at; r < std::min(at + kRowsPerStep, rows); ++r) {
        const bool is_anchor = r < anchors;
        const int64_t i = is_anchor ? r : r - anchors;
        float* const out = (is_anchor ? anchor_gradient : candidate_gradient) + i * dim;
        std::fill_n(out, dim, 0.0f);
        bool used = is_anchor && gradient.add_own(i, out);
        if (own || !is_anchor) used = gradient.add_chosen(i, chosen, out) || used;
        if (!used) continue;  // stays zero, whatever the row holds: no 0 * NaN
        gradient.finish(is_anchor ? gradient.anchor(i) : gradient.candidate(i),
                        is_anchor ? gradient.anchor_norm(i) : gradient.candidate_norm(i), out);
      }
    }
  });
}

}  // namespace crosscam
