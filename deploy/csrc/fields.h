#pragma once

// What an engine remembers of a plugin: whole numbers with names, the first of them a version.

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace crosscam::trt {

struct Field {
  std::string name;
  int32_t value;
};

/// What an engine was built for. The workspace was reserved by these numbers, so kernels that were
/// compiled with others must not run in it.
struct SearchFields {
  int32_t k = 0;           ///< results of a query
  int32_t lists = 0;       ///< results that a kernel keeps of a query and a part of the gallery
  int32_t tile_rows = 0;   ///< gallery rows that a kernel takes at a time
  int32_t most_parts = 0;  ///< of the gallery: one block merges their lists

  bool operator==(const SearchFields&) const = default;
};

inline constexpr int32_t kFieldsVersion = 1;

/// Names of the fields as they are serialised, `version` first; `values_of` has the same order.
inline constexpr std::array<const char*, 5> kSearchFieldNames = {"version", "k", "lists",
                                                                 "tile_rows", "most_parts"};

std::array<int32_t, 5> values_of(const SearchFields& fields);

/// The fields of a serialised search.
///
/// @throws InputError when one is missing, unknown or given twice, or the version is another.
SearchFields read_search_fields(std::span<const Field> fields);

/// `k` out of the fields that a network gives, where it is the only one.
///
/// @throws InputError as `read_search_fields`
int32_t read_k(std::span<const Field> fields);

/// For the plugin that has nothing to remember but the version.
///
/// @throws InputError as `read_search_fields`
void check_version_only(std::span<const Field> fields);

}  // namespace crosscam::trt
