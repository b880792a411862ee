#pragma once

// Types of tensors and sizes of problems, without TensorRT's words for them.

#include <cstdint>

#include "cuda/search.h"

namespace crosscam::trt {

using cuda::Element;

/// Type of the elements of a tensor, as far as the plugins know any.
enum class Type { kFloat32, kFloat16, kBFloat16, kInt8, kInt32, kInt64, kBool, kOther };

/// The type of embeddings that kernels are named after; false for one that no plugin takes.
inline bool element_of(Type type, Element& element) {
  switch (type) {
    case Type::kFloat32:
      element = Element::kFloat32;
      return true;
    case Type::kFloat16:
      element = Element::kFloat16;
      return true;
    case Type::kBFloat16:
      element = Element::kBFloat16;
      return true;
    default:
      return false;
  }
}

/// Sizes of a search.
struct SearchSizes {
  int64_t queries;  ///< Q
  int64_t gallery;  ///< G
  int64_t dim;      ///< D
};

}  // namespace crosscam::trt
