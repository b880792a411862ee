#include "cuda/search.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "cuda/merge_topk.h"
#include "cuda/operators.h"

namespace crosscam::cuda {
namespace {

constexpr int64_t kTileRows = 128;                // BN of the kernels, see gpu/similarity_table.py
constexpr int64_t kBlocksPerProcessor = 4;        // of 4 warps and at most 48 KiB of shared memory
constexpr int64_t kMaxStride = int64_t{1} << 22;  // offsets inside a tile have 32 bits

constexpr int64_t kMaxInt8Dim = 131072;  // 127 * 127 * D must fit 32 bits
// A split is a whole number of tiles, and its rows must fit 32 bits as well.
constexpr int64_t kMaxRows = std::numeric_limits<int32_t>::max() - kTileRows;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Features of one step of the product, of which D must be a multiple: BD of the kernels.
int64_t step_of(Element element) {
  return element == Element::kFloat32 ? 32 : element == Element::kInt8 ? 128 : 64;
}

[[noreturn]] void refuse(const std::string& message) {
  throw std::invalid_argument("similarity_topk: " + message);
}

void check_size(const char* name, int64_t value, int64_t most) {
  if (value < 0 || value > most) {
    refuse(std::string(name) + " = " + std::to_string(value) + ". Expected: 0 to " +
           std::to_string(most) + ".");
  }
}

void check_stride(const char* name, int64_t stride, int64_t dim) {
  if (stride < dim || stride > kMaxStride || stride % 16 != 0) {
    refuse(std::string(name) + " = " + std::to_string(stride) + ". Expected: a multiple of 16, " +
           "from D = " + std::to_string(dim) + " to " + std::to_string(kMaxStride) + ".");
  }
}

void check(const DeviceSearch& search) {
  check_size("k", search.k, kSearchMaxK);
  check_size("query_count", search.query_count, kMaxStride);
  check_size("gallery_count", search.gallery_count, kMaxRows);
  const int64_t step = step_of(search.element);
  const int64_t most = search.element == Element::kInt8 ? kMaxInt8Dim : kMaxStride;
  if (search.dim <= 0 || search.dim > most || search.dim % step != 0) {
    refuse("D = " + std::to_string(search.dim) + " of " + element_name(search.element) +
           ". Expected: a positive multiple of " + std::to_string(step) + " up to " +
           std::to_string(most) +
           ". What to do: pad rows with zeros, which changes no similarity.");
  }
  check_stride("query_stride", search.query_stride, search.dim);
  check_stride("gallery_stride", search.gallery_stride, search.dim);
  const bool scaled = search.element == Element::kInt8;
  if (scaled != (search.query_scale != nullptr) || scaled != (search.gallery_scale != nullptr)) {
    refuse(std::string("scales of ") + element_name(search.element) +
           " rows. Expected: both with int8 rows, none with others.");
  }
  const int masks = (search.valid != nullptr) + (search.query_camera != nullptr) +
                    (search.gallery_camera != nullptr);
  if (masks != 0 && masks != 3) {
    refuse(std::to_string(masks) +
           " of the masks valid, query_camera and gallery_camera. Expected: all or none. What to "
           "do: for some alone, fill the others with ones, with 0 and with -1.");
  }
  const bool empty = search.query_count == 0 || search.gallery_count == 0 || search.k == 0;
  if (!empty && (search.queries == nullptr || search.gallery == nullptr)) {
    refuse("a null pointer to the queries or the gallery.");
  }
}

size_t workspace_bytes(const DeviceSearch& search, const SearchSplit& split) {
  return static_cast<size_t>(search.query_count * split.splits * kSearchMaxK) * sizeof(TopkKey);
}

}  // namespace

SearchSplit split_search(const DeviceSearch& search, int multiprocessors) {
  check(search);
  const int64_t query_blocks = divide_up(search.query_count, kSearchQueries);
  const int64_t tiles = search.k == 0 ? 0 : divide_up(search.gallery_count, kTileRows);
  if (query_blocks == 0 || tiles == 0) return {query_blocks, 0, 0};
  const int64_t blocks = std::max<int64_t>(multiprocessors, 1) * kBlocksPerProcessor;
  const int64_t wanted = std::clamp<int64_t>(blocks / query_blocks, 1, tiles);
  const int64_t rows_per_split = divide_up(tiles, wanted) * kTileRows;
  return {query_blocks, divide_up(search.gallery_count, rows_per_split), rows_per_split};
}

size_t Operators::search_workspace_bytes(const DeviceSearch& search) const {
  return workspace_bytes(search, split_search(search, device_.multiprocessors()));
}

void Operators::similarity_topk(const DeviceSearch& search, void* workspace, size_t bytes,
                                float* similarity, int64_t* index, Stream stream) {
  const SearchSplit split = split_search(search, device_.multiprocessors());
  const size_t needed = workspace_bytes(search, split);
  if (bytes < needed || (needed > 0 && workspace == nullptr)) {
    refuse("a workspace of " + std::to_string(workspace == nullptr ? 0 : bytes) +
           " bytes. Expected: at least " + std::to_string(needed) +
           ", which search_workspace_bytes tells.");
  }
  if (search.query_count > 0 && search.k > 0 && (similarity == nullptr || index == nullptr)) {
    refuse("a null pointer to the results.");
  }
  if (split.splits > 0) {
    const bool masked = search.valid != nullptr;
    const CudaModule& kernel =
        module(std::string("similarity_stream_plugin_") + (masked ? "masked_" : "") +
               element_name(search.element) + "_16_k16");
    Arguments arguments(kernel.kernel());
    arguments.pointer(search.queries).pointer(search.gallery);
    if (search.element == Element::kInt8) {
      arguments.pointer(search.query_scale).pointer(search.gallery_scale);
    }
    if (masked) {
      arguments.pointer(search.valid).pointer(search.query_camera).pointer(search.gallery_camera);
    }
    arguments.integer(search.query_count).integer(search.gallery_count).integer(search.dim);
    arguments.integer(search.query_stride).integer(search.gallery_stride);
    // Adjacency and time windows, which these kernels do not have.
    for (int absent = 0; absent < 5; ++absent) arguments.integer(0);
    arguments.integer(split.query_blocks).integer(split.splits).integer(split.rows_per_split);
    arguments.pointer(workspace);
    kernel.launch(split.query_blocks * split.splits, arguments, stream);
  }
  // Keys of all parts to results; without any, the merge writes that there is none.
  if (search.k == 0) return;
  merge(workspace, search.query_count, split.splits * kSearchMaxK, kSignedKeys, search.k,
        similarity, index, stream);
}

}  // namespace crosscam::cuda
