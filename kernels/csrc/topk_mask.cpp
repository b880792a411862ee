#include "topk_mask.h"

#include <algorithm>
#include <limits>

namespace crosscam {
namespace {

// Camera ids are small numbers in practice; up to this range they are renumbered by a table.
constexpr int64_t kTableRange = 1 << 16;
constexpr int64_t kMinTime = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxTime = std::numeric_limits<int64_t>::max();

/// Gallery times t with low <= query - t <= high, as [first, last]; first > last when there is
/// none. A bound at its end of int64 is none: the difference of two times may lie beyond it.
void time_span(int64_t query, int64_t low, int64_t high, int64_t* first, int64_t* last) {
  const bool first_overflows = __builtin_sub_overflow(query, high, first);
  const bool last_overflows = __builtin_sub_overflow(query, low, last);
  if ((first_overflows && high < 0) || (last_overflows && low > 0)) {  // outside all times
    *first = kMaxTime;
    *last = kMinTime;
    return;
  }
  if (first_overflows || high == kMaxTime) *first = kMinTime;
  if (last_overflows || low == kMinTime) *last = kMaxTime;
}

}  // namespace

TopkMask::TopkMask(const TopkProblem& problem, int block)
    : problem_(problem),
      by_camera_(problem.gallery_camera != nullptr &&
                 (problem.rule != CameraRule::kAny || problem.adjacency != nullptr)),
      by_time_(problem.gallery_time != nullptr) {
  if (by_camera_) {
    number_cameras();
    allow_cameras(block);
  }
  if (by_time_) allow_times(block);
}

int32_t TopkMask::camera(int64_t row) const {
  const int32_t id = problem_.gallery_camera[row];
  if (!number_.empty()) return number_[static_cast<size_t>(static_cast<int64_t>(id) - lowest_)];
  const auto at = std::lower_bound(cameras_.begin(), cameras_.end(), id);
  return static_cast<int32_t>(at - cameras_.begin());
}

void TopkMask::number_cameras() {
  const int32_t* ids = problem_.gallery_camera;
  const int64_t count = problem_.gallery_count;
  if (count == 0) return;
  int32_t lowest = ids[0], highest = ids[0];
  for (int64_t row = 1; row < count; ++row) {
    lowest = std::min(lowest, ids[row]);
    highest = std::max(highest, ids[row]);
  }
  lowest_ = lowest;
  const int64_t range = static_cast<int64_t>(highest) - lowest + 1;
  if (range > kTableRange) {
    cameras_.assign(ids, ids + count);
    std::sort(cameras_.begin(), cameras_.end());
    cameras_.erase(std::unique(cameras_.begin(), cameras_.end()), cameras_.end());
    return;
  }
  std::vector<uint8_t> present(static_cast<size_t>(range), 0);
  for (int64_t row = 0; row < count; ++row) {
    present[static_cast<size_t>(static_cast<int64_t>(ids[row]) - lowest)] = 1;
  }
  number_.assign(static_cast<size_t>(range), -1);
  for (int64_t id = 0; id < range; ++id) {
    if (present[static_cast<size_t>(id)] == 0) continue;
    number_[static_cast<size_t>(id)] = static_cast<int32_t>(cameras_.size());
    cameras_.push_back(static_cast<int32_t>(id + lowest));
  }
}

void TopkMask::allow_cameras(int block) {
  const int64_t blocks = (problem_.query_count + block - 1) / block;
  const size_t cameras = cameras_.size();
  bits_.assign(static_cast<size_t>(blocks) * cameras, 0);
  camera_used_.assign(cameras, 0);
  for (int64_t query = 0; query < problem_.query_count; ++query) {
    uint64_t* const row = bits_.data() + static_cast<size_t>(query / block) * cameras;
    const uint64_t bit = uint64_t{1} << (query % block);
    const int32_t own = problem_.query_camera[query];
    for (size_t number = 0; number < cameras; ++number) {
      const int32_t other = cameras_[number];
      if (problem_.rule == CameraRule::kExcludeSame && own == other) continue;
      if (problem_.rule == CameraRule::kOnlySame && own != other) continue;
      if (problem_.adjacency != nullptr) {
        const uint64_t word = problem_.adjacency[own * problem_.adjacency_words + other / 64];
        if ((word >> (other % 64) & 1) == 0) continue;
      }
      row[number] |= bit;
      camera_used_[number] = 1;
    }
  }
}

void TopkMask::allow_times(int block) {
  const int64_t blocks = (problem_.query_count + block - 1) / block;
  first_.assign(static_cast<size_t>(blocks * block), kMaxTime);  // padding matches nothing
  last_.assign(static_cast<size_t>(blocks * block), kMinTime);
  earliest_ = kMaxTime;
  latest_ = kMinTime;
  for (size_t query = 0; query < static_cast<size_t>(problem_.query_count); ++query) {
    time_span(problem_.query_time[query], problem_.window_low, problem_.window_high, &first_[query],
              &last_[query]);
    if (first_[query] > last_[query]) continue;
    earliest_ = std::min(earliest_, first_[query]);
    latest_ = std::max(latest_, last_[query]);
  }
}

}  // namespace crosscam
