// One block for each query; see merge_topk.h.
#include "cuda/merge_topk.h"

using crosscam::cuda::kMergeKeys;
using crosscam::cuda::kMergeThreads;
using crosscam::cuda::TopkKey;

/// candidates (Q, count), similarity (Q, k), index (Q, k), all dense; a block of kMergeThreads.
/// `flip` is zero or kSignedKeys.
extern "C" __global__ void __launch_bounds__(kMergeThreads)
    merge_topk_kernel(const TopkKey* candidates, int64_t count, TopkKey flip, int32_t k,
                      float* similarity, int64_t* index) {
  __shared__ TopkKey keys[kMergeKeys];
  const int64_t query = blockIdx.x;
  const auto each_thread = [](const auto& step) {
    step(static_cast<int>(threadIdx.x));
    __syncthreads();
  };
  crosscam::cuda::merge_query(candidates + query * count, count, flip, k, keys,
                              similarity + query * k, index + query * k, each_thread);
}
