#pragma once

// JSON (RFC 8259), as much as the manifest of compiled kernels needs, and strict about it: no name
// twice in an object, nothing after the value, at most 16 levels, no escaped surrogates.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace crosscam::trt {

struct Json;
using JsonList = std::vector<Json>;
using JsonObject = std::vector<std::pair<std::string, Json>>;  ///< in the order of the text

/// A value. Numbers without fraction and exponent that fit are integers, others are reals.
struct Json {
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, JsonList, JsonObject> value;
};

/// @throws InputError where it is not JSON, with the place.
Json parse_json(std::string_view text);

}  // namespace crosscam::trt
