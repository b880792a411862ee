#pragma once

// The merge of partial top-k lists, written as steps that threads of a block make between barriers.
// `merge_topk.cu` runs them on a GPU; the tests run the same steps on a CPU, thread after thread.

#include <cstdint>

#if defined(__CUDACC__)
#define CROSSCAM_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define CROSSCAM_HOST_DEVICE inline
#endif

namespace crosscam::cuda {

/// Keys in the shared memory of a block, and the most results of a query: half of them.
inline constexpr int kMergeKeys = 2048;
inline constexpr int kMergeMaxK = kMergeKeys / 2;
inline constexpr int kMergeThreads = 256;

/// A candidate: `orderable(similarity) << 32 | ~index`, so that the greater key has the greater
/// similarity and, of equal ones, the smaller index. Zero stands for none: it would be a NaN.
using TopkKey = uint64_t;

/// The float whose order-preserving image is `bits`.
CROSSCAM_HOST_DEVICE float from_orderable(uint32_t bits) {
  const uint32_t raw = (bits & 0x80000000u) != 0 ? bits & 0x7FFFFFFFu : ~bits;
  float value;
#if defined(__CUDA_ARCH__)
  value = __uint_as_float(raw);
#else
  __builtin_memcpy(&value, &raw, sizeof(value));
#endif
  return value;
}

/// What `flip` is for keys of the Triton kernels, which have no unsigned integers to compare: their
/// keys are these with the topmost bit turned over, and the smallest int64 stands for none.
inline constexpr TopkKey kSignedKeys = 0x8000000000000000u;

/// Step 1: positions [begin, size) of `keys` are filled with candidates from `from` on,
/// exclusive-or `flip`; what lies beyond the last candidate becomes "none".
CROSSCAM_HOST_DEVICE void merge_load(int thread, const TopkKey* candidates, int64_t count,
                                     TopkKey flip, int64_t from, int begin, int size,
                                     TopkKey* keys) {
  for (int i = begin + thread; i < size; i += kMergeThreads) {
    const int64_t source = from + (i - begin);
    keys[i] = source < count ? candidates[source] ^ flip : 0;
  }
}

/// Step 2, for block = 2, 4 .. size and stride = block / 2 .. 1: one layer of Batcher's bitonic
/// sorting network (1968), greatest first. `size` is a power of two.
CROSSCAM_HOST_DEVICE void merge_sort_layer(int thread, int size, int block, int stride,
                                           TopkKey* keys) {
  for (int pair = thread; pair < size / 2; pair += kMergeThreads) {
    const int low = 2 * pair - (pair & (stride - 1));
    const int high = low + stride;
    const bool descending = (low & block) == 0;
    const TopkKey a = keys[low], b = keys[high];
    if ((a < b) == descending) {
      keys[low] = b;
      keys[high] = a;
    }
  }
}

/// Step 3: the first k keys as similarity and index; -infinity and -1 where there is none.
CROSSCAM_HOST_DEVICE void merge_store(int thread, const TopkKey* keys, int k, float* similarity,
                                      int64_t* index) {
  for (int i = thread; i < k; i += kMergeThreads) {
    const TopkKey key = keys[i];
    similarity[i] = from_orderable(key == 0 ? 0x007FFFFFu : static_cast<uint32_t>(key >> 32));
    index[i] = key == 0 ? -1 : static_cast<int64_t>(~static_cast<uint32_t>(key));
  }
}

/// Smallest power of two of at least `count`, at least 2 and at most `kMergeKeys`.
CROSSCAM_HOST_DEVICE int merge_size(int64_t count) {
  int size = 2;
  while (size < count && size < kMergeKeys) size *= 2;
  return size;
}

/// All steps for one query. `each_thread(step)` runs `step(thread)` for every thread of the block
/// and waits for all of them.
template <typename EachThread>
CROSSCAM_HOST_DEVICE void merge_query(const TopkKey* candidates, int64_t count, TopkKey flip, int k,
                                      TopkKey* keys, float* similarity, int64_t* index,
                                      const EachThread& each_thread) {
  const int size = merge_size(count > k ? count : k);
  int kept = 0;  // the best so far stand before it, sorted
  for (int64_t from = 0; kept == 0 || from < count;) {
    each_thread(
        [&](int thread) { merge_load(thread, candidates, count, flip, from, kept, size, keys); });
    from += size - kept;
    for (int block = 2; block <= size; block *= 2) {
      for (int stride = block / 2; stride > 0; stride /= 2) {
        each_thread([&](int thread) { merge_sort_layer(thread, size, block, stride, keys); });
      }
    }
    kept = k;
    if (k == 0) break;
  }
  each_thread([&](int thread) { merge_store(thread, keys, k, similarity, index); });
}

}  // namespace crosscam::cuda
