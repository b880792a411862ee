// Portable C++: four lanes as a plain array, which any compiler may or may not turn into vectors.
#include <bit>
#include <cmath>

#include "infonce_kernels.h"
#include "simd_kernels.h"

#define CROSSCAM_ISA scalar

namespace crosscam::scalar {
namespace {

struct V {
  float v[4];
};
constexpr int kLanes = 4;
constexpr int kMaxVectors = 2;
constexpr int kTileRows[4] = {4, 2, 0, 0};
constexpr int kPixelBytes = 3;

/// a * b + c rounded once, as the vector units do it, so that every level gives the same bits.
inline float fma1(float a, float b, float c) {
#if defined(FP_FAST_FMAF)
  return __builtin_fmaf(a, b, c);
#else
  // The product is exact in double. The sum is rounded to odd (its last bit set when inexact),
  // after which rounding to float is the only rounding that counts (Boldo & Melquiond, 2008).
  const double product = static_cast<double>(a) * b;
  const double sum = product + c;
  const double rest = sum - product;
  const double error = (product - (sum - rest)) + (c - rest);  // TwoSum: exact
  const uint64_t bits = std::bit_cast<uint64_t>(sum);
  const uint64_t inexact = static_cast<uint64_t>(error > 0.0) | static_cast<uint64_t>(error < 0.0);
  const uint64_t opposite = (bits ^ std::bit_cast<uint64_t>(error)) >> 63;
  const uint64_t step = (1 - 2 * opposite) * (inexact & ~bits & 1);  // 0, or one unit to the error
  return static_cast<float>(std::bit_cast<double>(bits + step));
#endif
}

inline V zero() { return {}; }
inline V load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
inline V broadcast(float x) { return {{x, x, x, x}}; }
inline V fma(const V& a, const V& b, const V& c) {
  V out;
  for (int i = 0; i < 4; ++i) out.v[i] = fma1(a.v[i], b.v[i], c.v[i]);
  return out;
}
inline V mul(const V& a, const V& b) {
  V out;
  for (int i = 0; i < 4; ++i) out.v[i] = a.v[i] * b.v[i];
  return out;
}
inline void store(float* p, const V& a) {
  for (int i = 0; i < 4; ++i) p[i] = a.v[i];
}
template <typename F>
inline V lanewise(const V& a, const V& b, F f) {
  return {{f(a.v[0], b.v[0]), f(a.v[1], b.v[1]), f(a.v[2], b.v[2]), f(a.v[3], b.v[3])}};
}
inline V add(const V& a, const V& b) {
  return lanewise(a, b, [](float x, float y) { return x + y; });
}
inline V sub(const V& a, const V& b) {
  return lanewise(a, b, [](float x, float y) { return x - y; });
}
inline V maximum(const V& a, const V& b) {
  return lanewise(a, b, [](float x, float y) { return x > y ? x : y; });
}
inline V minimum(const V& a, const V& b) {
  return lanewise(a, b, [](float x, float y) { return x < y ? x : y; });
}
/// Lane i of a where bit i is set, else of b.
inline V select(uint32_t bits, const V& a, const V& b) {
  V out;
  for (int i = 0; i < 4; ++i) out.v[i] = (bits >> i & 1) != 0 ? a.v[i] : b.v[i];
  return out;
}
/// Multiplies x by two to the power of the integer in the low bits of n.
inline V add_to_exponent(const V& x, const V& n) {
  return lanewise(x, n, [](float y, float power) {
    const uint32_t exponent = std::bit_cast<uint32_t>(power) << 23;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(y) + exponent);
  });
}
/// The sum of all lanes, in an order of its own.
inline float sum_lanes(const V& a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
inline uint32_t greater(const V& a, const V& b) {
  uint32_t mask = 0;
  for (int i = 0; i < 4; ++i) mask |= static_cast<uint32_t>(a.v[i] > b.v[i]) << i;
  return mask;
}

inline uint64_t time_mask(int64_t time, const int64_t* first, const int64_t* last, int count) {
  uint64_t mask = 0;
  for (int q = 0; q < count; ++q) {
    mask |= static_cast<uint64_t>(first[q] <= time && time <= last[q]) << q;
  }
  return mask;
}

/// n values of IEEE half precision, exactly.
inline void widen_fp16(const uint16_t* row, int64_t n, float* out) {
  for (int64_t d = 0; d < n; ++d) {
    const uint32_t sign = static_cast<uint32_t>(row[d] & 0x8000U) << 16;
    const uint32_t exponent = row[d] >> 10 & 31, fraction = row[d] & 1023;
    if (exponent == 0) {  // zero and subnormal: fraction * 2^-24
      const float size = static_cast<float>(fraction) * 0x1p-24f;
      out[d] = sign == 0 ? size : -size;
    } else {
      const uint32_t wide = exponent == 31 ? 255 : exponent + 112;  // infinity and NaN stay so
      out[d] = std::bit_cast<float>(sign | wide << 23 | fraction << 13);
    }
  }
}

inline V load_bf16(const uint16_t* p) {
  V out;
  for (int i = 0; i < kLanes; ++i) out.v[i] = std::bit_cast<float>(uint32_t{p[i]} << 16);
  return out;
}
inline V load_fp16(const uint16_t* p) {
  V out;
  widen_fp16(p, kLanes, out.v);
  return out;
}
inline V load_int8(const int8_t* p) {
  V out;
  for (int i = 0; i < kLanes; ++i) out.v[i] = static_cast<float>(p[i]);
  return out;
}

/// Four int8 in each lane of the factors, one int32 in each of the sums.
struct Quad {
  uint32_t v[4];
};
inline Quad quad_load(const uint32_t* q) { return {{q[0], q[1], q[2], q[3]}}; }
inline Quad quad_broadcast(const uint32_t* row) {
  uint32_t word;
  __builtin_memcpy(&word, row, sizeof word);
  return {{word, word, word, word}};
}
inline Quad quad_start(const int32_t*) { return {}; }
inline Quad quad_step(const Quad& g, const Quad& q, const Quad& sum) {
  Quad out = sum;
  for (int i = 0; i < 4; ++i) {
    for (int shift = 0; shift < 32; shift += 8) {
      const int a = static_cast<int8_t>(g.v[i] >> shift), b = static_cast<int8_t>(q.v[i] >> shift);
      out.v[i] += static_cast<uint32_t>(a * b);
    }
  }
  return out;
}
inline V quad_float(const Quad& sum) {
  V out;
  for (int i = 0; i < 4; ++i) out.v[i] = static_cast<float>(static_cast<int32_t>(sum.v[i]));
  return out;
}

/// One pixel of three bytes to floats; the fourth channel is zero.
inline V load_pixels(const uint8_t* p) {
  return {{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), 0.0f}};
}

/// The same of a pixel of four bytes.
inline V load_pixels4(const uint8_t* p) { return load_pixels(p); }

/// To binary16, to nearest, ties to even.
inline void store_half(uint16_t* p, const V& a) {
  for (int i = 0; i < 4; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(a.v[i]);
    const uint32_t magnitude = bits & 0x7FFF'FFFF;
    uint32_t half = 0x7C00;  // infinity, from 65,536 on; what rounds up to it carries into it
    if (magnitude < 113u << 23) {
      // The last bit of 0.5 in float is that of a subnormal half: the sum rounds to it.
      constexpr uint32_t kMagic = 126u << 23;
      half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - kMagic;
    } else if (magnitude < 143u << 23) {
      half = (magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    }
    p[i] = static_cast<uint16_t>(half | (bits & 0x8000'0000) >> 16);
  }
}

inline void store_int8(int8_t* p, const V& a, float scale, int32_t zero_point) {
  for (int i = 0; i < 4; ++i) {
    float scaled = a.v[i] / scale;
    scaled = scaled < 1024.0f ? scaled : 1024.0f;  // beyond what saturates, within what converts
    scaled = scaled > -1024.0f ? scaled : -1024.0f;
    int32_t value = static_cast<int32_t>(std::nearbyint(scaled)) + zero_point;
    value = value < 127 ? value : 127;
    p[i] = static_cast<int8_t>(value > -128 ? value : -128);
  }
}

inline void transpose_blocks(V*) {}

/// Transposes four by four floats.
inline void transpose_lanes(V* v) {
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < i; ++j) {
      const float swap = v[i].v[j];
      v[i].v[j] = v[j].v[i];
      v[j].v[i] = swap;
    }
  }
}

}  // namespace
}  // namespace crosscam::scalar

#include "crop_rows.inl"
#include "dense_tile.inl"
#include "hardest_tile.inl"
#include "infonce_tile.inl"
#include "memory_row.inl"
#include "normalise_row.inl"
#include "topk_float.inl"
#include "topk_int8.inl"
