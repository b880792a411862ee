#pragma once

// `SimilarityTopK`: the best k rows of a gallery for each query, by two launches and a workspace.
//
//   queries (Q, D), gallery (G, D) ─► partial ─► keys (Q, parts * K) ─► merge ─► (Q, K) ─► (Q, k)
//
// The launches are those of `crosscam_deploy.plugins`, which TensorRT makes of two nodes.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "device_kernels.h"
#include "fields.h"
#include "types.h"

namespace crosscam::trt {

/// The gallery in parts, as many at most as one block merges.
struct Parts {
  int64_t count;  ///< 0 for an empty gallery
  int64_t rows;   ///< of each but the last; a multiple of the tile
};

Parts split_gallery(int64_t rows, const SearchFields& fields);

/// Tensors of a search, on the device and dense. Masks: all three or none.
struct SearchTensors {
  const void* queries;                   ///< (Q, D)
  const void* gallery;                   ///< (G, D), of the same type
  const void* valid = nullptr;           ///< (G,) bytes; zero: never a result
  const void* query_camera = nullptr;    ///< (Q,) int32
  const void* gallery_camera = nullptr;  ///< (G,) int32; never a result for its own camera
  float* similarity;                     ///< out (Q, k)
  int64_t* index;                        ///< out (Q, k)
};

/// The number of inputs with masks and without.
inline constexpr int kPlainInputs = 2, kMaskedInputs = 5, kSearchOutputs = 2;

/// The type that an input or output must have where that of the embeddings is `element`: inputs
/// first, then similarity and index. False for a place that there is not.
bool search_type(int place, int inputs, Type element, Type& type);

/// A search with the kernels of a folder.
class Search {
 public:
  /// @throws InputError when k is none, or the kernels of the folder do not fit each other.
  Search(std::shared_ptr<const KernelFolder> folder, int32_t k,
         const cuda::Driver* driver = nullptr);

  /// A search as an engine remembers it.
  ///
  /// @throws InputError as above, and when the folder's kernels are not those it was built for.
  Search(std::shared_ptr<const KernelFolder> folder, const SearchFields& fields,
         const cuda::Driver* driver = nullptr);

  /// The same with kernels of its own, for another context of execution.
  Search fresh() const { return Search(folder_, fields_, driver_); }

  const SearchFields& fields() const { return fields_; }

  /// Whether the kernel of this type was compiled.
  bool has(Element element, bool masked) const;

  /// Throws InputError where the kernels do not take these sizes.
  void check(const SearchSizes& sizes, Element element, bool masked) const;

  /// Bytes that this search and every smaller one needs, each part of it aligned to 256.
  size_t workspace_bytes(const SearchSizes& most) const;

  /// Load what a launch needs into the current context, so that a launch loads nothing.
  void prepare(Element element, bool masked) const;

  /// Queue the search on `stream`. Nothing waits and nothing is allocated on the device.
  ///
  /// @param workspace `workspace_bytes` of device memory, aligned to 16
  /// @throws InputError, CudaError, std::invalid_argument
  void launch(const SearchTensors& tensors, const SearchSizes& sizes, Element element,
              void* workspace, cuda::Stream stream) const;

 private:
  std::shared_ptr<const KernelFolder> folder_;
  const cuda::Driver* driver_;
  SearchFields fields_;
  std::shared_ptr<DeviceKernels> kernels_;
};

}  // namespace crosscam::trt
