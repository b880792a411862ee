#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "cuda/module.h"
#include "cuda/search.h"

namespace crosscam::cuda {

/// Rows on the device to bring to unit length and to eight bits; see ../normalise.h.
struct DeviceRows {
  const void* data = nullptr;  ///< (N, D), aligned to 16 bytes
  Element element = Element::kFloat32;
  int64_t count = 0;   ///< N
  int64_t dim = 0;     ///< D, a multiple of 16
  int64_t stride = 0;  ///< elements from row to row, a multiple of 16
};

/// The operators on pointers to memory of one device. Kernels are loaded at their first use; calls
/// queue their work on `stream` and return at once. Safe to call from several threads.
class Operators {
 public:
  explicit Operators(const Device& device, std::span<const Kernel> kernels = embedded_kernels())
      : device_(device), kernels_(kernels) {}

  /// codes (N, D) int8 and scale (N,) float32 of `rows`: the codes of the CPU to the bit.
  ///
  /// @throws CudaError, std::invalid_argument
  void normalise_quantise(const DeviceRows& rows, int8_t* codes, float* scale, Stream stream);

  /// The k best of each query out of partial results, such as those of the parts of a gallery.
  ///
  /// @param candidates (queries, count) keys `orderable(similarity) << 32 | ~index`; zero is none.
  /// @param k 0 to 1024
  /// @param similarity out (queries, k), -infinity where there is no result
  /// @param index out (queries, k), -1 where there is no result
  /// @throws CudaError, std::invalid_argument
  void merge_topk(const uint64_t* candidates, int64_t queries, int64_t count, int k,
                  float* similarity, int64_t* index, Stream stream);

  /// Bytes of device memory, aligned to 16, that `similarity_topk` needs for this problem.
  ///
  /// @throws std::invalid_argument as `similarity_topk`
  size_t search_workspace_bytes(const DeviceSearch& search) const;

  /// The k best gallery rows of each query, ordered by similarity descending, then index ascending.
  /// Two launches on `stream`; nothing waits for the device and nothing is allocated on it.
  ///
  /// @param workspace `search_workspace_bytes` of device memory, free again once `stream` is there
  /// @param similarity out (Q, k), dense, aligned to 4 bytes; -infinity where there is no result
  /// @param index out (Q, k), dense, aligned to 8 bytes; -1 where there is no result
  /// @throws CudaError; std::invalid_argument for sizes, pointers or alignments that the compiled
  /// kernels do not take, and for a workspace that is too small
  void similarity_topk(const DeviceSearch& search, void* workspace, size_t workspace_bytes,
                       float* similarity, int64_t* index, Stream stream);

 private:
  void merge(const void* candidates, int64_t queries, int64_t count, uint64_t flip, int k,
             float* similarity, int64_t* index, Stream stream);
  const CudaModule& module(const std::string& name);

  const Device& device_;
  std::span<const Kernel> kernels_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<CudaModule>> modules_;
};

}  // namespace crosscam::cuda
