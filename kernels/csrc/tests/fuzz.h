#pragma once

// What the fuzz targets share. Each draws a problem from a Source, has the library solve it, and
// compares the answer with a plain computation: `fuzz_one` returns false when they differ.
//
//   NAME_fuzz [iterations [seed]]   problems drawn from seeds (default 100 from seed 1)
//   NAME_fuzz - < bytes             the problem of the bytes of standard input
//
// The seed of a problem that fails is printed, so that `NAME_fuzz 1 SEED` repeats it. With Clang,
// `-DCROSSCAM_LIBFUZZER=ON` links libFuzzer instead of fuzz_main.cpp.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace crosscam::fuzz {

/// Random numbers: the bytes given, two for each number, then those of a generator whose seed they
/// are (SplitMix64, Steele et al. 2014).
class Source {
 public:
  Source(const uint8_t* bytes, size_t size) : bytes_(bytes), size_(size) {
    for (size_t i = 0; i < size; ++i) state_ = (state_ ^ bytes[i]) * 0x100000001B3ULL;  // FNV-1a
  }

  uint64_t next() {
    if (at_ < size_) {
      uint16_t word = 0;
      const size_t count = size_ - at_ < 2 ? size_ - at_ : 2;
      std::memcpy(&word, bytes_ + at_, count);
      at_ += count;
      return word;
    }
    state_ += 0x9E3779B97F4A7C15ULL;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  /// From `low` to `high`, both included.
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  bool one_in(int64_t n) { return below(n) == 0; }
  /// Roughly normal, mean 0 and variance 1.
  double normal() {
    double sum = 0.0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(below(65536)) / 65536.0 - 0.5;
    return sum * std::sqrt(3.0);
  }
  template <typename T>
  const T& one_of(const std::vector<T>& values) {
    return values[static_cast<size_t>(below(static_cast<int64_t>(values.size())))];
  }

 private:
  const uint8_t* bytes_;
  size_t size_, at_ = 0;
  uint64_t state_ = 0xCBF29CE484222325ULL;
};

/// (count, dim) rows of roughly unit length, or of -1, 0 and 1, whose products are exact and tie;
/// between them lies what must not be read. Of exactly the needed size, so that a sanitizer sees
/// every overrun.
inline std::vector<float> draw_rows(Source& random, int64_t count, int64_t dim, int64_t stride,
                                    bool integers) {
  std::vector<float> out(static_cast<size_t>(count == 0 ? 0 : (count - 1) * stride + dim), 1e9f);
  out.reserve(1);  // an address, also without rows
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t d = 0; d < dim; ++d) {
      const double value =
          integers ? static_cast<double>(random.below(3) - 1) : random.normal() * scale;
      out[static_cast<size_t>(r * stride + d)] = static_cast<float>(value);
    }
  }
  return out;
}

/// Cameras of `count` rows, one of three each.
inline std::vector<int32_t> draw_cameras(Source& random, int64_t count) {
  std::vector<int32_t> out(static_cast<size_t>(count));
  for (int32_t& camera : out) camera = static_cast<int32_t>(random.below(3));
  out.reserve(1);  // an address, also without rows
  return out;
}

/// Says what is wrong; returns false.
inline bool fail(const char* what, int64_t row, int64_t at) {
  std::fprintf(stderr, "row %lld, place %lld: %s\n", static_cast<long long>(row),
               static_cast<long long>(at), what);
  return false;
}

}  // namespace crosscam::fuzz

/// Draws, solves and checks one problem.
bool fuzz_one(crosscam::fuzz::Source& random);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
