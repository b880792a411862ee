#include "rerank.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "rerank_plain.h"

namespace {

using crosscam::RerankProblem;
using crosscam::SimdLevel;
using crosscam::plain::expected;
using crosscam::plain::Lists;
using Data = crosscam::plain::RerankData;

void check_distances(const Data& data, const std::vector<std::vector<double>>& weights,
                     const crosscam::SparseRows& rows, int64_t queries, float lambda) {
  const int64_t gallery = data.count - queries;
  crosscam::SparseRows columns;
  columns.begin.push_back(0);
  for (int64_t c = 0; c < data.count; ++c) {
    for (int64_t g = 0; g < gallery; ++g) {
      for (int64_t a = rows.begin[queries + g]; a < rows.begin[queries + g + 1]; ++a) {
        if (rows.column[a] != c) continue;
        columns.column.push_back(static_cast<int32_t>(g));
        columns.value.push_back(rows.value[a]);
      }
    }
    columns.begin.push_back(static_cast<int64_t>(columns.column.size()));
  }
  crosscam::RerankDistances problem;
  problem.query_count = queries;
  problem.gallery_count = gallery;
  problem.metric = data.metric();
  problem.weights = {rows.begin.data(), rows.column.data(), rows.value.data()};
  problem.by_column = {columns.begin.data(), columns.column.data(), columns.value.data()};
  problem.lambda = lambda;
  problem.threads = 2;
  for (const SimdLevel level : crosscam::simd_levels()) {
    problem.simd = level;
    const int64_t k = gallery + 2;
    std::vector<float> found(static_cast<size_t>(queries * gallery), 12345.0f);
    std::vector<float> best(static_cast<size_t>(queries * k), 12345.0f);
    std::vector<int64_t> index(best.size(), 12345);
    crosscam::rerank_distances(problem, 0, queries, found.data(), 0, nullptr, nullptr);
    crosscam::rerank_distances(problem, 0, queries, nullptr, k, best.data(), index.data());
    for (int64_t q = 0; q < queries; ++q) {
      for (int64_t g = 0; g < gallery; ++g) {
        double least = 0.0, most = 0.0;
        for (size_t c = 0; c < weights.size(); ++c) {
          const double a = weights[static_cast<size_t>(q)][c];
          const double b = weights[static_cast<size_t>(queries + g)][c];
          least += std::min(a, b);
          most += std::max(a, b);
        }
        const float d = problem.metric.distance(q, data.similarity(q, queries + g));
        const double want = (1.0 - lambda) * (1.0 - least / most) + lambda * d;
        CHECK(std::fabs(found[static_cast<size_t>(q * gallery + g)] - want) < 2e-6);
      }
      for (int64_t a = 0; a < k; ++a) {
        const auto at = static_cast<size_t>(q * k + a);
        if (a >= gallery) {
          CHECK(index[at] == -1 && best[at] == std::numeric_limits<float>::infinity());
          continue;
        }
        CHECK(best[at] == found[static_cast<size_t>(q * gallery + index[at])]);
        if (a == 0) continue;
        CHECK(best[at - 1] < best[at] || (best[at - 1] == best[at] && index[at - 1] < index[at]));
      }
    }
  }
}

void check_all(int64_t count, int64_t dim, uint32_t seed) {
  const Data data(count, dim, seed);
  for (const bool camera_aware : {false, true}) {
    for (const int64_t k2 : {int64_t{1}, int64_t{4}}) {
      RerankProblem problem;
      problem.count = count;
      problem.metric = data.metric();
      const Lists any = data.lists(9, crosscam::CameraRule::kAny);
      const Lists intra = data.lists(5, crosscam::CameraRule::kOnlySame);
      const Lists inter = data.lists(8, crosscam::CameraRule::kExcludeSame);
      problem.all = any.view(9);
      problem.intra = intra.view(5);
      problem.inter = inter.view(8);
      problem.k1 = 8;
      problem.half_k1 = 4;
      problem.k2 = k2;
      problem.k1_intra = 4;
      problem.k1_inter = 7;
      problem.k2_intra = 2;
      problem.k2_inter = k2;
      problem.camera_aware = camera_aware;
      const auto want = expected(data, problem);
      crosscam::SparseRows rows;
      for (const SimdLevel level : crosscam::simd_levels()) {
        problem.simd = level;
        problem.threads = level == SimdLevel::kScalar ? 1 : 3;
        rows = crosscam::rerank_encode(problem);
        CHECK(static_cast<int64_t>(rows.begin.size()) == count + 1);
        for (int64_t i = 0; i < count; ++i) {
          std::vector<double> found(static_cast<size_t>(count), 0.0);
          for (int64_t a = rows.begin[i]; a < rows.begin[i + 1]; ++a) {
            CHECK(a == rows.begin[i] || rows.column[a - 1] < rows.column[a]);
            found[static_cast<size_t>(rows.column[a])] = rows.value[a];
          }
          for (size_t c = 0; c < found.size(); ++c) {
            CHECK(std::fabs(found[c] - want[static_cast<size_t>(i)][c]) < 1e-6);
          }
        }
      }
      check_distances(data, want, rows, count / 3, camera_aware ? 0.0f : 0.3f);
    }
  }
}

}  // namespace

int main() {
  check_all(1, 3, 1);
  check_all(7, 5, 2);
  check_all(130, 19, 3);
  return 0;
}
