#include "fields.h"

#include "errors.h"

namespace crosscam::trt {
namespace {

/// Values of exactly the fields `names`, in their order.
template <size_t N>
std::array<int32_t, N> exactly(std::span<const Field> fields,
                               const std::array<const char*, N>& names) {
  std::array<int32_t, N> values{};
  std::array<bool, N> known{};
  for (const Field& field : fields) {
    size_t place = 0;
    while (place < N && field.name != names[place]) ++place;
    if (place == N)
      throw InputError("a field '" + field.name + "', which the plugin does not have");
    if (known[place]) throw InputError("two fields '" + field.name + "'", "one");
    known[place] = true;
    values[place] = field.value;
  }
  for (size_t i = 0; i < N; ++i) {
    if (!known[i]) throw InputError(std::string("no field '") + names[i] + "'");
  }
  return values;
}

void check_version(int32_t version) {
  if (version == kFieldsVersion) return;
  throw InputError("an engine with fields of version " + std::to_string(version),
                   std::to_string(kFieldsVersion),
                   "build the engine anew with the library that is installed here");
}

}  // namespace

std::array<int32_t, 5> values_of(const SearchFields& fields) {
  return {kFieldsVersion, fields.k, fields.lists, fields.tile_rows, fields.most_parts};
}

SearchFields read_search_fields(std::span<const Field> fields) {
  for (const Field& field : fields) {
    if (field.name == kSearchFieldNames[0]) check_version(field.value);  // before names it may lack
  }
  const auto values = exactly(fields, kSearchFieldNames);
  return {values[1], values[2], values[3], values[4]};
}

int32_t read_k(std::span<const Field> fields) {
  return exactly(fields, std::array<const char*, 1>{"k"})[0];
}

void check_version_only(std::span<const Field> fields) {
  for (const Field& field : fields) {
    if (field.name == kSearchFieldNames[0]) check_version(field.value);
  }
  exactly(fields, std::array<const char*, 1>{"version"});
}

}  // namespace crosscam::trt
