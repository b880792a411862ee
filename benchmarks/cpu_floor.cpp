// What this processor could do at best: fused multiply-adds in registers, and reading memory.
//
//     g++ -O3 -funroll-loops -march=native -pthread -o /tmp/cpu_floor benchmarks/cpu_floor.cpp
//     /tmp/cpu_floor 2
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

namespace {

constexpr int kLanes = 16;   // floats of one line of the cache
constexpr int kChains = 12;  // sums that do not wait for each other
typedef float Vector __attribute__((vector_size(4 * kLanes)));

volatile float sink;  // keeps the compiler from dropping the sums

double seconds(int threads, const std::function<void(int)>& body) {
  std::vector<double> times;
  for (int round = 0; round < 11; ++round) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t) workers.emplace_back(body, t);
    for (std::thread& worker : workers) worker.join();
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    times.push_back(passed.count());
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void finish(const Vector* sums, int count) {
  float total = 0;
  for (int i = 0; i < count; ++i) {
    for (int lane = 0; lane < kLanes; ++lane) total += sums[i][lane];
  }
  sink = total;
}

void multiply(int) {
  constexpr int kSteps = 2'000'000;
  Vector sum[kChains] = {};
  const Vector a = Vector{} + 1.0000001f, b = Vector{} + 1e-9f;
  for (int step = 0; step < kSteps; ++step) {
    for (Vector& s : sum) s = s * a + b;
  }
  finish(sum, kChains);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const double time = seconds(threads, multiply);
  std::printf("%d threads: %.0f GFLOP/s\n", threads,
              threads * 2e6 * kChains * kLanes * 2 / time / 1e9);

  constexpr size_t kRows = 100'000, kDim = 512, kAtOnce = 4;
  const std::vector<float> rows(kRows * kDim, 0.5f);
  const double read = seconds(threads, [&](int t) {
    Vector sum[kAtOnce] = {};
    const size_t share = kRows / static_cast<size_t>(threads) / kAtOnce * kAtOnce;
    const float* const first = rows.data() + static_cast<size_t>(t) * share * kDim;
    for (size_t row = 0; row < share; row += kAtOnce) {
      for (size_t d = 0; d < kDim; d += kLanes) {
        for (size_t r = 0; r < kAtOnce; ++r) {
          Vector value;
          __builtin_memcpy(&value, first + (row + r) * kDim + d, sizeof(value));
          sum[r] += value;
        }
      }
    }
    finish(sum, kAtOnce);
  });
  std::printf("%d threads: %.1f GB/s (%zu rows of %zu floats in %.2f ms)\n", threads,
              static_cast<double>(kRows * kDim * sizeof(float)) / read / 1e9, kRows, kDim,
              read * 1e3);
  return 0;
}
