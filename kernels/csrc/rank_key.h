#pragma once

#include <bit>
#include <cstdint>

namespace crosscam {

/// Total order of results as an unsigned integer: the larger key comes first.
///
/// Score descending, then gallery index ascending; -0 equals +0; NaN comes after minus infinity.
/// `index` must be below 2^32.
inline uint64_t rank_key(float score, int64_t index) {
  uint32_t order = 0;
  if (score == score) {
    const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 + 0 = +0
    order = bits ^ ((bits >> 31) != 0 ? 0xFFFFFFFFU : 0x80000000U);
  }
  return uint64_t{order} << 32 | (0xFFFFFFFFU - static_cast<uint32_t>(index));
}

/// The score of a key; NaN where it was NaN.
inline float key_score(uint64_t key) {
  const auto order = static_cast<uint32_t>(key >> 32);
  if (order == 0) return std::bit_cast<float>(0x7FC00000U);
  return std::bit_cast<float>(order ^ ((order >> 31) != 0 ? 0x80000000U : 0xFFFFFFFFU));
}

}  // namespace crosscam
