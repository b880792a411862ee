#include "topk.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "topk_heap.h"

namespace {

using crosscam::CameraRule;
using crosscam::Candidate;
using crosscam::TopkProblem;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Data {
  std::vector<float> queries, gallery;
  std::vector<uint8_t> valid;
  std::vector<int32_t> query_camera, gallery_camera;
  std::vector<int64_t> query_time, gallery_time;
  std::vector<uint64_t> adjacency;
  TopkProblem problem;
};

/// Random data in vectors of exactly the needed size, so that a sanitizer sees every overrun.
Data make(int64_t queries, int64_t gallery, int64_t dim, int64_t k, uint32_t seed, bool masked) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random()) % n; };
  Data data;
  for (int64_t i = 0; i < queries * dim; ++i) data.queries.push_back(normal(random));
  for (int64_t i = 0; i < gallery * dim; ++i) data.gallery.push_back(normal(random));
  TopkProblem& problem = data.problem;
  problem.query_count = queries;
  problem.gallery_count = gallery;
  problem.query_stride = problem.gallery.stride = problem.dim = dim;
  problem.k = k;
  if (masked) {
    const int32_t spread = seed % 2 == 0 ? 1 : 100'000;  // the second makes ids too far for a table
    for (int64_t i = 0; i < queries; ++i) {
      data.query_camera.push_back(static_cast<int32_t>(below(5)) * spread);
      data.query_time.push_back(below(100));
    }
    for (int64_t i = 0; i < gallery; ++i) {
      data.valid.push_back(below(4) != 0);
      data.gallery_camera.push_back(static_cast<int32_t>(below(5)) * spread);
      data.gallery_time.push_back(below(100));
    }
    problem.rule = seed % 3 == 0 ? CameraRule::kOnlySame : CameraRule::kExcludeSame;
    if (spread == 1) {
      for (int i = 0; i < 5; ++i) data.adjacency.push_back(random() & 31U);
    }
    problem.adjacency_words = 1;
    problem.window_low = -20;
    problem.window_high = 40;
  }
  return data;
}

/// Points the problem at the vectors of `data` (which may have moved since `make`).
const TopkProblem& bind(Data& data) {
  const auto or_null = [](const auto& v) { return v.empty() ? nullptr : v.data(); };
  TopkProblem& problem = data.problem;
  problem.queries = data.queries.data();
  problem.gallery.data = data.gallery.data();
  problem.valid = or_null(data.valid);
  problem.query_camera = or_null(data.query_camera);
  problem.gallery_camera = or_null(data.gallery_camera);
  problem.query_time = or_null(data.query_time);
  problem.gallery_time = or_null(data.gallery_time);
  problem.adjacency = or_null(data.adjacency);
  return problem;
}

bool allowed(const TopkProblem& p, int64_t q, int64_t g) {
  if (p.valid != nullptr && p.valid[g] == 0) return false;
  if (p.gallery_camera != nullptr) {
    const int32_t a = p.query_camera[q], b = p.gallery_camera[g];
    if (p.rule == CameraRule::kExcludeSame && a == b) return false;
    if (p.rule == CameraRule::kOnlySame && a != b) return false;
    if (p.adjacency != nullptr && (p.adjacency[a] >> b & 1) == 0) return false;
  }
  if (p.gallery_time != nullptr) {
    const auto difference = static_cast<__int128>(p.query_time[q]) - p.gallery_time[g];
    if (difference < p.window_low || difference > p.window_high) return false;
  }
  return true;
}

/// The documented definition, one fused multiply-add after the other.
std::vector<Candidate> expected(const TopkProblem& p, int64_t q) {
  std::vector<Candidate> found;
  const auto* const gallery = static_cast<const float*>(p.gallery.data);
  for (int64_t g = 0; g < p.gallery_count; ++g) {
    float sum = 0.0f;
    for (int64_t d = 0; d < p.dim; ++d) {
      sum = std::fma(gallery[g * p.gallery.stride + d], p.queries[q * p.query_stride + d], sum);
    }
    if (allowed(p, q, g) && sum > -kInfinity) found.push_back({sum, g});
  }
  std::sort(found.begin(), found.end(), crosscam::better);
  found.resize(static_cast<size_t>(p.k), {-kInfinity, -1});
  return found;
}

void check_all_levels(Data data) {
  TopkProblem problem = bind(data);
  const auto size = static_cast<size_t>(problem.query_count * problem.k);
  for (const auto level : crosscam::simd_levels()) {
    for (const int threads : {1, 3}) {
      problem.simd = level;
      problem.threads = threads;
      std::vector<float> similarity(size, 12345.0f);
      std::vector<int64_t> index(size, 12345);
      crosscam::similarity_topk(problem, similarity.data(), index.data());
      for (int64_t q = 0; q < problem.query_count; ++q) {
        const auto want = expected(problem, q);
        for (int64_t i = 0; i < problem.k; ++i) {
          const auto at = static_cast<size_t>(q * problem.k + i);
          CHECK(index[at] == want[static_cast<size_t>(i)].index);
          CHECK(similarity[at] == want[static_cast<size_t>(i)].similarity);  // to the last bit
        }
      }
    }
  }
}

void shapes() {
  uint32_t seed = 0;
  for (const int64_t queries : {1, 7, 17, 65, 130}) {
    for (const int64_t gallery : {0, 1, 25, 301}) {
      for (const int64_t dim : {1, 15, 16, 37}) {
        check_all_levels(make(queries, gallery, dim, 5, ++seed, false));
        check_all_levels(make(queries, gallery, dim, 5, ++seed, true));
      }
    }
  }
  check_all_levels(make(3, 40, 8, 100, 1, true));  // k > G
}

void large_enough_for_many_threads_and_lists() {
  check_all_levels(make(70, 3000, 48, 20, 2, false));
  check_all_levels(make(70, 3000, 48, 20, 3, true));
  check_all_levels(make(700, 200, 64, 3, 4, true));  // more queries than rows: split by queries
}

void strided_rows() {
  Data data = make(9, 50, 24, 4, 7, false);
  data.problem.dim = 11;  // the first features of wider rows
  check_all_levels(data);
}

void equal_rows_tie_wherever_they_stand() {
  Data data = make(5, 400, 33, 60, 8, false);
  for (int64_t g = 0; g < 400; g += 7) {
    std::copy_n(data.gallery.begin(), 33, data.gallery.begin() + g * 33);
  }
  check_all_levels(data);
}

void non_finite_values() {
  Data data = make(20, 300, 9, 7, 9, false);
  data.queries[2 * 9] = std::nanf("");
  data.queries[3 * 9 + 1] = kInfinity;
  data.gallery[5 * 9 + 3] = std::nanf("");
  data.gallery[6 * 9 + 1] = -kInfinity;
  data.gallery[7 * 9 + 2] = kInfinity;
  check_all_levels(data);
}

void subnormal_and_huge_values() {
  Data data = make(20, 300, 9, 300, 10, false);
  for (size_t i = 0; i < data.gallery.size(); ++i) {
    data.gallery[i] *= i % 3 == 0 ? 1e-38f : (i % 3 == 1 ? 1e-30f : 1.0f);
  }
  for (size_t i = 0; i < data.queries.size(); ++i) data.queries[i] *= i % 2 == 0 ? 1e-8f : 1e30f;
  check_all_levels(data);
}

void times_at_the_ends_of_the_clock() {
  const auto low = std::numeric_limits<int64_t>::min(), high = std::numeric_limits<int64_t>::max();
  const float one = 1.0f;
  const struct {
    int64_t query, gallery, window_low, window_high;
    bool match;
  } cases[] = {
      {0, 0, 0, 0, true},
      {5, 0, 5, 5, true},
      {5, 0, 6, 9, false},
      {low, low, 0, 0, true},
      {high, high, 0, 0, true},
      {high, low, low, high, true},
      {0, 7, low, high, true},
      {low, high, low, -1, true},
      {high, 0, high, high, true},
      {low, low, 0, high, true},
      {low + 5, low, 5, 5, true},
      {high - 5, high, -5, -5, true},
      // Differences beyond int64: unbounded sides take them, bounds of one less refuse them.
      {high, low, 0, high, true},
      {high, low, 0, high - 1, false},
      {low, high, low, 0, true},
      {low, high, low + 1, 0, false},
      {low, high, 0, high, false},
      {high, low, low, 0, false},
      {5, low + 4, 0, high, true},
      {-5, high - 3, low, 0, true},
      {5, low + 4, 0, high - 1, false},
      {-5, high - 3, low + 1, 0, false},
      {-1, high, low + 1, high, false},
      {-1, high - 1, low + 1, high, true},
  };
  for (const auto& c : cases) {
    for (const auto level : crosscam::simd_levels()) {
      TopkProblem problem;
      problem.queries = &one;
      problem.gallery.data = &one;
      problem.query_count = problem.gallery_count = problem.dim = problem.k = 1;
      problem.query_stride = problem.gallery.stride = 1;
      problem.query_time = &c.query;
      problem.gallery_time = &c.gallery;
      problem.window_low = c.window_low;
      problem.window_high = c.window_high;
      problem.simd = level;
      float similarity = 0.0f;
      int64_t index = -7;
      crosscam::similarity_topk(problem, &similarity, &index);
      CHECK(index == (c.match ? 0 : -1));
    }
  }
}

void heap_keeps_the_best_under_the_total_order() {
  std::mt19937 random(3);
  for (const size_t k : {size_t{1}, size_t{2}, size_t{9}}) {
    crosscam::TopkHeap heap;
    std::vector<Candidate> all;
    for (int64_t i = 0; i < 200; ++i) {
      const Candidate item{static_cast<float>(random() % 5), static_cast<int64_t>(random() % 1000)};
      all.push_back(item);
      heap.push(item, k);
    }
    std::sort(all.begin(), all.end(), crosscam::better);
    auto kept = heap.items();
    std::sort(kept.begin(), kept.end(), crosscam::better);
    CHECK(kept.size() == k);
    for (size_t i = 0; i < k; ++i) {
      CHECK(kept[i].similarity == all[i].similarity && kept[i].index == all[i].index);
    }
  }
}

void unknown_levels_are_refused() {
  bool refused = false;
  try {
    crosscam::simd_level("mmx");
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
  CHECK(crosscam::simd_level("scalar") == crosscam::SimdLevel::kScalar);
  CHECK(crosscam::simd_level("") == crosscam::simd_levels().front());
}

}  // namespace

int main() {
  shapes();
  large_enough_for_many_threads_and_lists();
  strided_rows();
  equal_rows_tie_wherever_they_stand();
  non_finite_values();
  subnormal_and_huge_values();
  times_at_the_ends_of_the_clock();
  heap_keeps_the_best_under_the_total_order();
  unknown_levels_are_refused();
  return 0;
}
