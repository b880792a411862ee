#pragma once

#include <cstdint>
#include <vector>

#include "topk_queries.h"

namespace crosscam {

/// Brings gallery rows into the form that an engine compares; one per thread.
class RowSource {
 public:
  /// @param slots Rows that are held at a time.
  /// @param limit Largest squared norm that `prepare` accepts; negative to leave norms alone.
  RowSource(const TopkProblem& problem, const TopkEngine& engine, int slots, float limit);

  /// Points `words` to the words of a gallery row, valid until the slot is used again.
  ///
  /// @return Whether the row is within the limit (NaN is not).
  bool prepare(int64_t row, int slot, const void** words);

  /// Whether rows are compared as they lie in memory, and `prepare` need not be asked.
  bool as_they_lie() const { return !copies_ && limit_ < 0.0f; }

  /// Squared norm of a row as packed, as `prepare` computes it.
  float norm(int64_t row);

 private:
  float convert(const void* from, int64_t row, void* slot, const void** words) const;

  const TopkProblem& problem_;
  TopkWord word_;
  const RowKernels& rows_;
  const NarrowKernels& narrow_;
  bool copies_;  // rows do not lie in memory as the engine reads them
  float limit_;
  int64_t slot_bytes_;
  std::vector<uint32_t> scratch_;
};

/// A row of any element but int8 as fp32: itself, or widened into `scratch`.
const float* widened(const RowMatrix& matrix, int64_t row, int64_t dim, const RowKernels& kernels,
                     float* scratch);

}  // namespace crosscam
