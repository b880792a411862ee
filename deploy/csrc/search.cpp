#include "search.h"

#include <algorithm>
#include <limits>
#include <string>

#include "errors.h"

namespace crosscam::trt {
namespace {

constexpr int32_t kLists = 16;  // K of the kernels that are named after it
constexpr const char* kMerge = "similarity_merge_k16";
constexpr int64_t kMaxStride = 1 << 22;  // offsets inside a tile have 32 bits
constexpr int64_t kKeyBytes = 8;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

size_t aligned(int64_t bytes) { return static_cast<size_t>(divide_up(bytes, 256) * 256); }

std::string stream_name(Element element, bool masked) {
  return std::string("similarity_stream_plugin_") + (masked ? "masked_" : "") +
         cuda::element_name(element) + "_16_k16";
}

/// What the kernels of a folder were compiled with, which must be the same for all of them.
SearchFields fields_of(const KernelFolder& folder, int32_t k) {
  const ManifestKernel& merge = folder.get(kMerge);
  SearchFields fields;
  fields.k = k;
  fields.lists = static_cast<int32_t>(merge.size("K"));
  fields.most_parts = static_cast<int32_t>(merge.size("BLOCK") / kLists);
  for (const Element element : {Element::kFloat32, Element::kFloat16, Element::kBFloat16}) {
    for (const bool masked : {false, true}) {
      const ManifestKernel* const stream = folder.find(stream_name(element, masked));
      if (stream == nullptr) continue;
      const auto rows = static_cast<int32_t>(stream->size("BN"));
      if (fields.tile_rows == 0) fields.tile_rows = rows;
      if (rows != fields.tile_rows || stream->size("K") != kLists) {
        throw InputError("the kernel " + stream->name + " takes " + std::to_string(rows) +
                             " rows at a time and keeps " + std::to_string(stream->size("K")),
                         std::to_string(fields.tile_rows) + " and " + std::to_string(kLists) +
                             ", as the others do");
      }
    }
  }
  if (fields.tile_rows == 0) folder.get(stream_name(Element::kFloat32, false));  // says how to
  if (fields.lists != kLists || fields.most_parts < 1) {
    throw InputError(
        std::string("the kernel ") + kMerge + " merges lists of " + std::to_string(fields.lists),
        std::to_string(kLists));
  }
  if (k < 1 || k > kLists) {
    throw InputError("a search for " + std::to_string(k) + " results",
                     "1 to " + std::to_string(kLists), "build the engine without plugins");
  }
  return fields;
}

std::string told(const SearchFields& fields) {
  return "lists of " + std::to_string(fields.lists) + ", tiles of " +
         std::to_string(fields.tile_rows) + " rows, " + std::to_string(fields.most_parts) +
         " parts";
}

void check_size(const char* what, int64_t value, int64_t most) {
  if (value >= 0 && value <= most) return;
  throw InputError("a search with " + std::to_string(value) + " " + what,
                   "0 to " + std::to_string(most));
}

/// The workspace in its three parts.
struct Workspace {
  size_t keys, similarity, index;  // bytes

  size_t total() const { return keys + similarity + index; }
};

Workspace layout(int64_t queries, int64_t parts, const SearchFields& fields) {
  const int64_t results = queries * fields.lists;
  // Lists as long as the answer are written where the answer belongs.
  const bool cut = fields.k < fields.lists;
  return {aligned(results * parts * kKeyBytes),
          cut ? aligned(results * static_cast<int64_t>(sizeof(float))) : 0,
          cut ? aligned(results * static_cast<int64_t>(sizeof(int64_t))) : 0};
}

}  // namespace

Parts split_gallery(int64_t rows, const SearchFields& fields) {
  if (rows == 0) return {0, 0};
  const int64_t tiles = divide_up(rows, fields.tile_rows);
  const int64_t of_part = divide_up(tiles, fields.most_parts) * fields.tile_rows;
  return {divide_up(rows, of_part), of_part};
}

bool search_type(int place, int inputs, Type element, Type& type) {
  const int masks = inputs - kPlainInputs;
  if ((inputs != kPlainInputs && inputs != kMaskedInputs) || place < 0) return false;
  if (place < kPlainInputs) {
    type = element;
  } else if (place < kPlainInputs + masks) {
    type = place == kPlainInputs ? Type::kBool : Type::kInt32;
  } else if (place < inputs + kSearchOutputs) {
    type = place == inputs ? Type::kFloat32 : Type::kInt64;
  } else {
    return false;
  }
  return true;
}

Search::Search(std::shared_ptr<const KernelFolder> folder, int32_t k, const cuda::Driver* driver)
    : folder_(std::move(folder)),
      driver_(driver),
      fields_(fields_of(*folder_, k)),
      kernels_(std::make_shared<DeviceKernels>(folder_, driver)) {}

Search::Search(std::shared_ptr<const KernelFolder> folder, const SearchFields& fields,
               const cuda::Driver* driver)
    : Search(std::move(folder), fields.k, driver) {
  if (fields_ != fields) {
    throw InputError("the kernels of " + folder_->path() + " have " + told(fields_),
                     told(fields) + ", for which the engine was built",
                     "build the engine anew with these kernels");
  }
}

bool Search::has(Element element, bool masked) const {
  return folder_->find(stream_name(element, masked)) != nullptr;
}

void Search::check(const SearchSizes& sizes, Element element, bool masked) const {
  const ManifestKernel& stream = folder_->get(stream_name(element, masked));
  check_size("queries", sizes.queries, kMaxStride);
  // A part is a whole number of tiles, and its rows must fit 32 bits as well.
  check_size("gallery rows", sizes.gallery,
             std::numeric_limits<int32_t>::max() -
                 static_cast<int64_t>(fields_.tile_rows) * fields_.most_parts);
  check_size("features", sizes.dim, kMaxStride);
  const int64_t step = stream.size("BD");
  if (sizes.dim == 0 || sizes.dim % step != 0) {
    throw InputError("a search by embeddings of length " + std::to_string(sizes.dim),
                     "a multiple of " + std::to_string(step),
                     "fill rows up with zeros, or build the engine without plugins");
  }
}

size_t Search::workspace_bytes(const SearchSizes& most) const {
  // Not the parts of this gallery: a smaller one can have more of them.
  const int64_t parts =
      std::min<int64_t>(divide_up(most.gallery, fields_.tile_rows), fields_.most_parts);
  return layout(most.queries, parts, fields_).total();
}

void Search::prepare(Element element, bool masked) const {
  kernels_->get(stream_name(element, masked));
  kernels_->get(kMerge);
}

void Search::launch(const SearchTensors& tensors, const SearchSizes& sizes, Element element,
                    void* workspace, cuda::Stream stream) const {
  const bool masked = tensors.valid != nullptr;
  if (masked != (tensors.query_camera != nullptr) ||
      masked != (tensors.gallery_camera != nullptr)) {
    throw InputError("some of the masks", "valid, query_camera and gallery_camera, or none");
  }
  check(sizes, element, masked);
  if (sizes.queries == 0) return;
  const Parts parts = split_gallery(sizes.gallery, fields_);
  const Workspace room = layout(sizes.queries, parts.count, fields_);
  if (workspace == nullptr && room.total() > 0) throw InputError("a search without a workspace");
  char* const keys = static_cast<char*>(workspace);
  if (parts.count > 0) {
    const std::string name = stream_name(element, masked);
    const cuda::CudaModule& partial = kernels_->get(name);
    const int64_t blocks = divide_up(sizes.queries, folder_->get(name).size("BM"));
    NamedArguments arguments;
    arguments.pointers = {
        {"queries", tensors.queries}, {"gallery", tensors.gallery}, {"keys", keys}};
    if (masked) {
      arguments.pointers["valid"] = tensors.valid;
      arguments.pointers["query_camera"] = tensors.query_camera;
      arguments.pointers["gallery_camera"] = tensors.gallery_camera;
    }
    arguments.integers = {{"query_count", sizes.queries},
                          {"gallery_count", sizes.gallery},
                          {"dim", sizes.dim},
                          {"query_stride", sizes.dim},
                          {"gallery_stride", sizes.dim},
                          {"query_blocks", blocks},
                          {"splits", parts.count},
                          {"rows_per_split", parts.rows},
                          // Of masks that plugins do not have: the kernels do not look.
                          {"camera_rows", 0},
                          {"camera_words", 0},
                          {"window_low", 0},
                          {"window_high", 0},
                          {"unbounded", 0}};
    cuda::Arguments packed = arguments.pack(partial.kernel());
    partial.launch(blocks * parts.count, packed, stream);
  }
  const bool cut = fields_.k < fields_.lists;
  void* const similarity = cut ? keys + room.keys : static_cast<void*>(tensors.similarity);
  void* const index = cut ? keys + room.keys + room.similarity : static_cast<void*>(tensors.index);
  const cuda::CudaModule& merge = kernels_->get(kMerge);
  NamedArguments arguments;
  arguments.pointers = {{"keys", keys}, {"similarity", similarity}, {"index", index}};
  arguments.integers = {{"count", parts.count * fields_.lists}, {"nodes", 1}};
  cuda::Arguments packed = arguments.pack(merge.kernel());
  merge.launch(sizes.queries, packed, stream);
  if (!cut) return;
  const auto copy = [&](const void* from, void* to, size_t bytes) {
    cuda::Copy2d rows;
    rows.from = from;
    rows.from_pitch = static_cast<size_t>(fields_.lists) * bytes;
    rows.to = to;
    rows.to_pitch = rows.width_bytes = static_cast<size_t>(fields_.k) * bytes;
    rows.height = static_cast<size_t>(sizes.queries);
    kernels_->driver().check(kernels_->driver().copy_2d(&rows, stream),
                             "copying the results of a search");
  };
  copy(similarity, tensors.similarity, sizeof(float));
  copy(index, tensors.index, sizeof(int64_t));
}

}  // namespace crosscam::trt
