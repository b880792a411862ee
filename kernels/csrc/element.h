#pragma once

#include <cstdint>

namespace crosscam {

/// What the elements of a feature row are.
enum class Element { kFloat32, kBfloat16, kFloat16, kInt8 };
inline constexpr int kElements = 4;

/// Bytes of one element.
constexpr int64_t element_size(Element element) {
  return element == Element::kFloat32 ? 4 : element == Element::kInt8 ? 1 : 2;
}

}  // namespace crosscam
