#pragma once

#include <cstdint>
#include <vector>

#include "topk.h"

namespace crosscam {

/// The masks of a problem, brought into the form in which they cost least while scanning.
///
/// Rows that no query may match are dropped before anything is computed. What remains depends on
/// the pair: for cameras, one 64-bit word of allowed queries per (query block, gallery camera); for
/// times, the span of gallery times of each query.
class TopkMask {
 public:
  /// @param block Number of queries per block, at most 64.
  TopkMask(const TopkProblem& problem, int block);

  /// Whether any query may match this gallery row.
  bool row_allowed(int64_t row) const {
    if (problem_.valid != nullptr && problem_.valid[row] == 0) return false;
    if (by_camera_ && camera_used_[static_cast<size_t>(camera(row))] == 0) return false;
    if (by_time_) {
      const int64_t time = problem_.gallery_time[row];
      if (time < earliest_ || time > latest_) return false;
    }
    return true;
  }

  bool by_camera() const { return by_camera_; }
  bool by_time() const { return by_time_; }
  bool any() const { return by_camera_ || by_time_ || problem_.valid != nullptr; }

  /// Dense number of the camera of a gallery row; by_camera() must hold.
  int32_t camera(int64_t row) const;

  /// Queries of `block` that may match gallery camera number `camera`.
  uint64_t camera_bits(int64_t block, int32_t camera) const {
    return bits_[static_cast<size_t>(block) * cameras_.size() + static_cast<size_t>(camera)];
  }

  /// First and last gallery time of each query, padded to whole blocks; by_time() must hold.
  const int64_t* first_time() const { return first_.data(); }
  const int64_t* last_time() const { return last_.data(); }

 private:
  void number_cameras();
  void allow_cameras(int block);
  void allow_times(int block);

  const TopkProblem& problem_;
  bool by_camera_;
  bool by_time_;
  std::vector<int32_t> cameras_;  // distinct gallery cameras, ascending
  int32_t lowest_ = 0;
  std::vector<int32_t> number_;       // camera - lowest_ -> dense number, when the range is small
  std::vector<uint64_t> bits_;        // (blocks, cameras)
  std::vector<uint8_t> camera_used_;  // (cameras,) some query may match it
  std::vector<int64_t> first_, last_;
  int64_t earliest_ = 0, latest_ = 0;
};

}  // namespace crosscam
