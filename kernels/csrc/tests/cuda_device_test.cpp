// The CUDA backend on a real device, against the operators of the CPU. Skipped (77) without one.
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "check.h"
#include "cuda/merge_topk.h"
#include "cuda/operators.h"
#include "normalise.h"
#include "topk.h"

namespace {

using namespace crosscam::cuda;
constexpr int kSkipped = 77;

/// Memory of the device, through the driver's functions that only tests need.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : bytes_(values.size() * sizeof(T)) {
    CHECK(function<int (*)(void**, size_t)>("cuMemAlloc_v2")(&data_, bytes_) == 0);
    CHECK(function<int (*)(void*, const void*, size_t)>("cuMemcpyHtoD_v2")(data_, values.data(),
                                                                           bytes_) == 0);
  }
  ~DeviceArray() { function<int (*)(void*)>("cuMemFree_v2")(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return static_cast<T*>(data_); }
  std::vector<T> read() const {
    std::vector<T> values(bytes_ / sizeof(T));
    // Waits for the default stream.
    CHECK(function<int (*)(void*, void*, size_t)>("cuMemcpyDtoH_v2")(values.data(), data_,
                                                                     bytes_) == 0);
    return values;
  }

 private:
  template <typename F>
  static F function(const char* symbol) {
    static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
    const auto found = reinterpret_cast<F>(dlsym(library, symbol));
    CHECK(found != nullptr);
    return found;
  }

  void* data_ = nullptr;
  size_t bytes_;
};

uint32_t next(uint32_t& state) { return (state = state * 1664525u + 1013904223u) >> 8; }

void codes_are_those_of_the_processor(Operators& operators) {
  uint32_t state = 1;
  for (const int64_t dim : {16, 512, 768, 2048, 4096}) {
    const int64_t count = 100, stride = dim + 16;
    std::vector<float> rows(static_cast<size_t>(count * stride));
    for (float& x : rows) x = static_cast<float>(static_cast<int>(next(state) % 20001) - 10000);
    std::fill_n(rows.begin(), dim, 0.0f);
    rows[static_cast<size_t>(2 * stride + dim - 1)] = NAN;
    const auto size = static_cast<size_t>(count * dim);
    std::vector<int8_t> codes(size, 99);
    std::vector<float> scale(static_cast<size_t>(count), -7.0f);
    const DeviceArray<float> device_rows(rows);
    const DeviceArray<int8_t> device_codes(codes);
    const DeviceArray<float> device_scale(scale);
    operators.normalise_quantise({device_rows.get(), Element::kFloat32, count, dim, stride},
                                 device_codes.get(), device_scale.get(), nullptr);
    const crosscam::NormaliseProblem problem{rows.data(), count, dim, stride, 1, {}};
    crosscam::normalise_quantise(problem, codes.data(), scale.data());
    CHECK(device_codes.read() == codes);
    const std::vector<float> found = device_scale.read();
    for (size_t n = 0; n < found.size(); ++n) {
      CHECK(std::isnan(scale[n]) ? std::isnan(found[n])
                                 : std::abs(found[n] - scale[n]) <= 1e-6f * scale[n]);
    }
  }
}

void merging_equals_sorting(Operators& operators) {
  uint32_t state = 2;
  for (const int64_t count : {1, 100, 2048, 5000}) {
    const int64_t queries = 9;
    const int k = 64;
    std::vector<uint64_t> candidates(static_cast<size_t>(queries * count));
    for (uint64_t& key : candidates) {
      key = static_cast<uint64_t>(0x80000000u + next(state) % 50) << 32 | ~next(state) >> 1;
    }
    const DeviceArray<uint64_t> device_candidates(candidates);
    const DeviceArray<float> similarity(std::vector<float>(static_cast<size_t>(queries * k), 9.0f));
    const DeviceArray<int64_t> index(std::vector<int64_t>(static_cast<size_t>(queries * k), 9));
    operators.merge_topk(device_candidates.get(), queries, count, k, similarity.get(), index.get(),
                         nullptr);
    const std::vector<float> found_similarity = similarity.read();
    const std::vector<int64_t> found_index = index.read();
    for (int64_t q = 0; q < queries; ++q) {
      const auto begin = candidates.begin() + q * count;
      std::sort(begin, begin + count, std::greater<>());
      for (int64_t i = 0; i < k; ++i) {
        const uint64_t key = i < count ? begin[i] : 0;
        const auto at = static_cast<size_t>(q * k + i);
        CHECK(found_index[at] ==
              (key == 0 ? -1 : static_cast<int64_t>(~static_cast<uint32_t>(key))));
        CHECK(key == 0 ? std::isinf(found_similarity[at])
                       : found_similarity[at] == from_orderable(static_cast<uint32_t>(key >> 32)));
      }
    }
  }
}

/// Small integers: every order of summation gives the same similarities, with many ties.
void searching_equals_the_processor(Operators& operators) {
  uint32_t state = 3;
  for (const bool masked : {false, true}) {
    for (const int64_t count : {0, 1, 130, 20'000}) {
      const int64_t queries = 21, dim = 64;
      const int k = 10;
      std::vector<float> query(static_cast<size_t>(queries * dim));
      std::vector<float> gallery(static_cast<size_t>(std::max<int64_t>(count, 1) * dim));
      for (auto* rows : {&query, &gallery}) {
        for (float& x : *rows) x = static_cast<float>(static_cast<int>(next(state) % 5) - 2);
      }
      const auto pad = static_cast<size_t>(std::max<int64_t>(count, 1));
      std::vector<uint8_t> valid(pad);
      std::vector<int32_t> query_camera(static_cast<size_t>(queries)), gallery_camera(pad);
      for (uint8_t& v : valid) v = next(state) % 4 != 0;
      for (int32_t& c : query_camera) c = static_cast<int32_t>(next(state) % 3);
      for (int32_t& c : gallery_camera) c = static_cast<int32_t>(next(state) % 3);
      crosscam::TopkProblem problem;
      problem.queries = query.data();
      problem.query_count = queries;
      problem.query_stride = problem.dim = dim;
      problem.gallery = {gallery.data(), dim, crosscam::Element::kFloat32};
      problem.gallery_count = count;
      problem.k = k;
      if (masked) {
        problem.valid = valid.data();
        problem.query_camera = query_camera.data();
        problem.gallery_camera = gallery_camera.data();
        problem.rule = crosscam::CameraRule::kExcludeSame;
      }
      const auto size = static_cast<size_t>(queries * k);
      std::vector<float> similarity(size, 7.0f);
      std::vector<int64_t> index(size, 7);
      crosscam::similarity_topk(problem, similarity.data(), index.data());

      const DeviceArray<float> device_query(query), device_gallery(gallery);
      const DeviceArray<uint8_t> device_valid(valid);
      const DeviceArray<int32_t> device_qc(query_camera), device_gc(gallery_camera);
      DeviceSearch search;
      search.queries = device_query.get();
      search.gallery = device_gallery.get();
      search.query_count = queries;
      search.gallery_count = count;
      search.dim = search.query_stride = search.gallery_stride = dim;
      search.k = k;
      if (masked) {
        search.valid = device_valid.get();
        search.query_camera = device_qc.get();
        search.gallery_camera = device_gc.get();
      }
      const size_t bytes = operators.search_workspace_bytes(search);
      const DeviceArray<uint8_t> workspace(std::vector<uint8_t>(bytes + 16, 0xAA));
      const DeviceArray<float> device_similarity(std::vector<float>(size, 9.0f));
      const DeviceArray<int64_t> device_index(std::vector<int64_t>(size, 9));
      operators.similarity_topk(search, workspace.get(), bytes, device_similarity.get(),
                                device_index.get(), nullptr);
      CHECK(device_similarity.read() == similarity);
      CHECK(device_index.read() == index);
    }
  }
}

}  // namespace

int main() {
  if (!cuda_available()) {
    std::fprintf(stderr, "skipped: %s\n", cuda_unavailable_reason().c_str());
    return kSkipped;
  }
  const Device device;
  const CurrentContext current(device);
  Operators operators(device);
  codes_are_those_of_the_processor(operators);
  merging_equals_sorting(operators);
  searching_equals_the_processor(operators);
  return 0;
}
