#pragma once

// The definition of re-ranking with sets and dense rows, for the test and the fuzz target.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "rerank.h"
#include "topk.h"

namespace crosscam::plain {

struct Lists {
  std::vector<int64_t> index;
  std::vector<float> similarity;
  NeighbourLists view(int64_t width) const { return {index.data(), similarity.data(), width}; }
};

/// Rows of length 1 in clusters, in vectors of exactly the needed size, for the sanitizers' sake.
struct RerankData {
  RerankData(int64_t count, int64_t dim, uint32_t seed)
      : count(count), dim(dim), square(static_cast<size_t>(count), 2.0f), far(square.size(), 1.5f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < count; ++i) {
      camera.push_back(static_cast<int32_t>(random() % 3));
      for (int64_t d = 0; d < dim; ++d) {
        const float centre = std::sin(static_cast<float>((i % 5) * 7 + d));
        rows.push_back(centre + 0.4f * normal(random));
      }
      float* const row = rows.data() + i * dim;  // of length 1, so that it is its own nearest
      const float length = std::sqrt(std::inner_product(row, row + dim, row, 0.0f));
      std::transform(row, row + dim, row, [&](float x) { return x / length; });
    }
  }

  RerankMetric metric() const {
    return {rows.data(), rows.data(), dim, dim, dim, square.data(), far.data()};
  }

  Lists lists(int64_t width, CameraRule rule) const {
    TopkProblem problem;
    problem.queries = rows.data();
    problem.gallery.data = rows.data();
    problem.query_count = problem.gallery_count = count;
    problem.query_stride = problem.gallery.stride = problem.dim = dim;
    problem.k = width;
    problem.rule = rule;
    problem.query_camera = problem.gallery_camera = camera.data();
    Lists out{std::vector<int64_t>(static_cast<size_t>(count * width)),
              std::vector<float>(static_cast<size_t>(count * width))};
    similarity_topk(problem, out.similarity.data(), out.index.data());
    return out;
  }

  float similarity(int64_t i, int64_t j) const {
    float sum = 0.0f;
    for (int64_t d = 0; d < dim; ++d) sum = std::fma(rows[j * dim + d], rows[i * dim + d], sum);
    return sum;
  }

  int64_t count, dim;
  std::vector<float> rows, square, far;
  std::vector<int32_t> camera;
};

inline std::set<int64_t> reciprocal(const NeighbourLists& lists, int64_t i, int64_t k) {
  const auto near = [&](int64_t row) {
    std::set<int64_t> out;
    for (int64_t a = 0; a <= k && a < lists.width; ++a)
      out.insert(lists.index[row * lists.width + a]);
    out.erase(-1);
    return out;
  };
  std::set<int64_t> out;
  for (const int64_t j : near(i)) {
    if (near(j).count(i) != 0) out.insert(j);
  }
  return out;
}

/// The definition with sets and dense rows.
inline std::vector<std::vector<double>> expected(const RerankData& data, const RerankProblem& p) {
  const auto n = static_cast<size_t>(data.count);
  std::vector<std::vector<double>> weights(n, std::vector<double>(n, 0.0));
  for (int64_t i = 0; i < data.count; ++i) {
    std::set<int64_t> members;
    if (p.camera_aware) {
      members = reciprocal(p.intra, i, p.k1_intra);
      members.merge(reciprocal(p.inter, i, p.k1_inter));
    } else {
      const auto own = reciprocal(p.all, i, p.k1);
      members = own;
      for (const int64_t j : own) {
        const auto joining = reciprocal(p.all, j, p.half_k1);
        const auto common = std::count_if(joining.begin(), joining.end(),
                                          [&](int64_t m) { return own.count(m) != 0; });
        if (3 * common > 2 * static_cast<int64_t>(joining.size())) {
          members.insert(joining.begin(), joining.end());
        }
      }
    }
    double total = 0.0;
    auto& row = weights[static_cast<size_t>(i)];
    for (const int64_t j : members) {
      const float d = p.metric.distance(i, data.similarity(i, j));
      total += row[static_cast<size_t>(j)] = std::exp(-static_cast<double>(d));
    }
    for (double& weight : row) weight /= total;
  }
  if (!p.camera_aware && p.k2 == 1) return weights;
  std::vector<std::vector<double>> mean(n, std::vector<double>(n, 0.0));
  for (size_t i = 0; i < n; ++i) {
    double used = 0.0;
    const auto add = [&](const NeighbourLists& lists, int64_t k) {
      for (int64_t a = 0; a < std::min(k, lists.width); ++a) {
        const int64_t j = lists.index[static_cast<int64_t>(i) * lists.width + a];
        if (j < 0) break;
        used += 1.0;
        for (size_t c = 0; c < n; ++c) mean[i][c] += weights[static_cast<size_t>(j)][c];
      }
    };
    if (p.camera_aware) {
      add(p.intra, p.k2_intra);
      add(p.inter, p.k2_inter);
    } else {
      add(p.all, p.k2);
    }
    for (double& weight : mean[i]) weight /= used;
  }
  return mean;
}

}  // namespace crosscam::plain
