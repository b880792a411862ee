// The steps of merge_topk.cu, run thread after thread as a GPU runs them between two barriers.
// Within a step no two threads touch the same key, so the order of the threads must not matter:
// they run forwards and backwards.
#include "cuda/merge_topk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"

namespace {

using namespace crosscam::cuda;

uint32_t orderable(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

TopkKey key_of(float similarity, uint32_t index) {
  return static_cast<TopkKey>(orderable(similarity)) << 32 | static_cast<uint32_t>(~index);
}

/// The same key as `pack_keys` of gpu/similarity_keys.py writes it: an int64, none is the smallest.
TopkKey signed_key(TopkKey key) {
  if (key == 0) return static_cast<TopkKey>(std::numeric_limits<int64_t>::min());
  const auto orderable_bits = static_cast<uint32_t>(key >> 32);
  const auto ordered = static_cast<int64_t>(static_cast<int32_t>(orderable_bits ^ 0x80000000u));
  return static_cast<TopkKey>(ordered * (int64_t{1} << 32) +
                              static_cast<int64_t>(static_cast<uint32_t>(key)));
}

struct Result {
  std::vector<float> similarity;
  std::vector<int64_t> index;
  bool operator==(const Result&) const = default;
};

Result merge(const std::vector<TopkKey>& candidates, int k, bool backwards, TopkKey flip = 0) {
  Result result{std::vector<float>(static_cast<size_t>(k), 99.0f),
                std::vector<int64_t>(static_cast<size_t>(k), 99)};
  std::vector<TopkKey> keys(kMergeKeys, 0xDEADBEEFDEADBEEFull);  // shared memory is not cleared
  merge_query(candidates.data(), static_cast<int64_t>(candidates.size()), flip, k, keys.data(),
              result.similarity.data(), result.index.data(), [&](const auto& step) {
                for (int t = 0; t < kMergeThreads; ++t) {
                  step(backwards ? kMergeThreads - 1 - t : t);
                }
              });
  return result;
}

Result sorted(std::vector<TopkKey> candidates, int k) {
  std::sort(candidates.begin(), candidates.end(), std::greater<>());
  Result result;
  for (size_t i = 0; i < static_cast<size_t>(k); ++i) {
    const TopkKey key = i < candidates.size() ? candidates[i] : 0;
    float similarity = -std::numeric_limits<float>::infinity();
    if (key != 0) {
      const auto bits = static_cast<uint32_t>(key >> 32);
      const uint32_t raw = (bits & 0x80000000u) != 0 ? bits ^ 0x80000000u : ~bits;
      std::memcpy(&similarity, &raw, sizeof(similarity));
    }
    result.similarity.push_back(similarity);
    result.index.push_back(key == 0 ? -1 : static_cast<int64_t>(~static_cast<uint32_t>(key)));
  }
  return result;
}

void merging_equals_sorting() {
  uint32_t state = 7;
  const auto random = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (const size_t count : {0, 1, 2, 3, 5, 31, 256, 1000, 2047, 2048, 2049, 5000, 20000}) {
    std::vector<TopkKey> candidates(count);
    for (size_t i = 0; i < count; ++i) {
      // Few different similarities, so that the index decides most comparisons; a fifth is none.
      const float similarity = static_cast<float>(random() % 17) / 8.0f - 1.0f;
      candidates[i] = random() % 5 == 0 ? 0 : key_of(similarity, static_cast<uint32_t>(i));
    }
    for (size_t i = count; i > 1; --i) std::swap(candidates[i - 1], candidates[random() % i]);
    for (const int k : {0, 1, 2, 7, 64, 1000, kMergeMaxK}) {
      const Result expected = sorted(candidates, k);
      CHECK(merge(candidates, k, false) == expected);
      CHECK(merge(candidates, k, true) == expected);
      std::vector<TopkKey> of_triton(candidates);
      for (TopkKey& key : of_triton) key = signed_key(key);
      CHECK(merge(of_triton, k, false, kSignedKeys) == expected);
    }
  }
}

void the_best_may_stand_anywhere() {
  for (const size_t at : {size_t{0}, size_t{2047}, size_t{2048}, size_t{4094}, size_t{9999}}) {
    std::vector<TopkKey> candidates(10000, 0);
    candidates[at] = key_of(-2.5f, static_cast<uint32_t>(at));
    const Result result = merge(candidates, 2, false);
    CHECK(result.similarity[0] == -2.5f && result.index[0] == static_cast<int64_t>(at));
    CHECK(std::isinf(result.similarity[1]) && result.index[1] == -1);
  }
}

void similarities_survive_their_order() {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> ascending = {-infinity, -3e38f, -1.0f, -1e-45f, -0.0f,
                                        0.0f,      1e-45f, 0.5f,  3e38f,   infinity};
  for (size_t i = 0; i < ascending.size(); ++i) {
    const float back = from_orderable(orderable(ascending[i]));
    CHECK(std::memcmp(&back, &ascending[i], sizeof(back)) == 0);
    if (i > 0) CHECK(orderable(ascending[i - 1]) < orderable(ascending[i]));
  }
  CHECK(merge({key_of(1.0f, 0xFFFFFFFEu)}, 1, false).index[0] == 0xFFFFFFFE);
}

}  // namespace

int main() {
  merging_equals_sorting();
  the_best_may_stand_anywhere();
  similarities_survive_their_order();
  return 0;
}
