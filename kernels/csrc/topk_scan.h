#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "topk_bound.h"
#include "topk_heap.h"
#include "topk_mask.h"
#include "topk_queries.h"
#include "topk_rows.h"

namespace crosscam {

/// Everything the threads of one scan share.
struct TopkScan {
  const TopkProblem& problem;
  const TopkEngine& engine;
  const PackedQueries& packed;
  const TopkMask& mask;
  const ErrorBound* bound = nullptr;  ///< null: similarities of the scan are the defined ones
  std::atomic<bool> broken{false};    ///< a row was longer than the bound allows: results are void
};

/// What a scan has found for one query.
struct TopkFound {
  TopkHeap heap;  ///< the best k
  std::vector<Candidate>
      near;               ///< with a bound: a superset of the rows that can be among the best k
  bool overflow = false;  ///< `near` would have grown too long and is incomplete
};

/// One thread's scan: its own results, thresholds and list of gallery rows waiting to be compared.
class Scanner {
 public:
  explicit Scanner(TopkScan& scan);

  /// Adds gallery rows [begin, end). Ranges must come in ascending order for a given block.
  void add(int64_t begin, int64_t end, int64_t first_block, int64_t last_block);

  /// Compares the rows still waiting with the blocks [first_block, last_block).
  void flush(int64_t first_block, int64_t last_block);

  TopkFound& found(int64_t query) { return found_[static_cast<size_t>(query)]; }

 private:
  void compare(int64_t b);
  void insert(int64_t b, int at, uint64_t hits, const float* similarity, int width);
  void collect(size_t query, const Candidate& item);

  TopkScan& scan_;
  const TopkProblem& problem_;
  const TopkKernels& kernels_;
  size_t k_;
  std::vector<TopkFound> found_;
  std::vector<float> threshold_;
  int capacity_ = 0;
  int size_ = 0;
  RowSource source_;
  const RowMatrix& matrix_;  // of the rows from which results are defined
  const RowKernels& row_kernels_;
  std::vector<float> wide_;
  std::vector<const void*> rows_;
  std::vector<int64_t> indices_;
  std::vector<float> scales_;
  std::vector<int32_t> cameras_;
};

/// Longest `near` list of a query and thread.
inline int64_t max_near(int64_t k) { return 1024 + 16 * k; }

/// Scans the whole gallery with as many workers as the problem is worth.
std::vector<Scanner> scan_gallery(TopkScan& scan);

}  // namespace crosscam
