#pragma once

#include <cstdint>
#include <vector>

#include "topk_scan.h"

namespace crosscam {

/// Turns the candidates of a bounded scan into results.
class Rescorer {
 public:
  explicit Rescorer(const TopkProblem& problem);

  /// Computes the defined similarity of each candidate that can be among the best k.
  ///
  /// @param near Candidates of the whole gallery, each off by at most `bound`; reordered.
  /// @param lowest At least k rows of the gallery have a defined similarity no lower than this.
  /// @return The best k, in no order; valid until the next call.
  const std::vector<Candidate>& best(int64_t query, std::vector<Candidate>& near, double bound,
                                     double lowest);

 private:
  void score(const float* query, const Candidate* items, size_t count);

  const TopkProblem& problem_;
  const RowMatrix& matrix_;
  const RowKernels& kernels_;
  size_t k_;
  TopkHeap heap_;
  std::vector<float> scratch_;
};

}  // namespace crosscam
