// The plugins' launches on a real device, with kernels compiled for it, against the operators of
// the CPU. Skipped (77) without a device or without kernels:
//
//   python -m crosscam_kernels.aot --out build/aot && trt_device_test build/aot
#include <dlfcn.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "check.h"
#include "cuda/module.h"
#include "normalise.h"
#include "quantise.h"
#include "search.h"
#include "topk.h"

namespace {

namespace cuda = crosscam::cuda;
namespace trt = crosscam::trt;
using trt::Element;
constexpr int kSkipped = 77;

template <typename F>
F function(const char* symbol) {
  static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
  const auto found = reinterpret_cast<F>(dlsym(library, symbol));
  CHECK(found != nullptr);
  return found;
}

/// Memory of the device, through the driver's functions that only tests need.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : bytes_(values.size() * sizeof(T)) {
    CHECK(function<int (*)(void**, size_t)>("cuMemAlloc_v2")(&data_, bytes_ + 16) == 0);
    const auto copy = function<int (*)(void*, const void*, size_t)>("cuMemcpyHtoD_v2");
    CHECK(bytes_ == 0 || copy(data_, values.data(), bytes_) == 0);
  }
  ~DeviceArray() { function<int (*)(void*)>("cuMemFree_v2")(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return static_cast<T*>(data_); }
  std::vector<T> read() const {  // waits for the default stream
    std::vector<T> values(bytes_ / sizeof(T));
    const auto copy = function<int (*)(void*, void*, size_t)>("cuMemcpyDtoH_v2");
    CHECK(bytes_ == 0 || copy(values.data(), data_, bytes_) == 0);
    return values;
  }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

uint32_t next(uint32_t& state) { return (state = state * 1664525u + 1013904223u) >> 8; }

/// -2 to 2, which float16 holds exactly, as its bits or as floats.
template <typename T>
std::vector<T> as(const std::vector<float>& values) {
  std::vector<T> found;
  for (const float value : values) {
    if constexpr (sizeof(T) == 4) {
      found.push_back(value);
    } else {
      const uint16_t bits[] = {0xC000, 0xBC00, 0x0000, 0x3C00, 0x4000};
      found.push_back(bits[static_cast<int>(value) + 2]);
    }
  }
  return found;
}

/// Small integers: every order of summation gives the same similarities, with many ties.
template <typename T>
void searching_equals_the_processor(const std::shared_ptr<const trt::KernelFolder>& folder,
                                    Element element) {
  uint32_t state = 3;
  for (const bool masked : {false, true}) {
    for (const int k : {1, 10, 16}) {
      for (const int64_t count : {0, 1, 130, 20'000}) {
        const int64_t queries = 21, dim = 64;
        const auto rows = static_cast<size_t>(count);
        std::vector<float> query(static_cast<size_t>(queries * dim)), gallery(rows * 64);
        for (auto* values : {&query, &gallery}) {
          for (float& x : *values) x = static_cast<float>(static_cast<int>(next(state) % 5) - 2);
        }
        std::vector<uint8_t> valid(rows);
        std::vector<int32_t> query_camera(static_cast<size_t>(queries)), gallery_camera(rows);
        gallery.reserve(1), valid.reserve(1),
            gallery_camera.reserve(1);  // addresses, without rows too
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

        const DeviceArray<T> device_query(as<T>(query)), device_gallery(as<T>(gallery));
        const DeviceArray<uint8_t> device_valid(valid);
        const DeviceArray<int32_t> device_qc(query_camera), device_gc(gallery_camera);
        const trt::Search search(folder, k);
        const trt::SearchSizes sizes{queries, count, dim};
        const size_t bytes = search.workspace_bytes(sizes);
        const DeviceArray<uint8_t> workspace(std::vector<uint8_t>(bytes, 0xAA));
        const DeviceArray<float> found_similarity(std::vector<float>(size, 9.0f));
        const DeviceArray<int64_t> found_index(std::vector<int64_t>(size, 9));
        trt::SearchTensors tensors{};
        tensors.queries = device_query.get();
        tensors.gallery = device_gallery.get();
        if (masked) {
          tensors.valid = device_valid.get();
          tensors.query_camera = device_qc.get();
          tensors.gallery_camera = device_gc.get();
        }
        tensors.similarity = found_similarity.get();
        tensors.index = found_index.get();
        search.launch(tensors, sizes, element, workspace.get(), nullptr);
        CHECK(found_similarity.read() == similarity);
        CHECK(found_index.read() == index);
      }
    }
  }
}

void codes_are_those_of_the_processor(const std::shared_ptr<const trt::KernelFolder>& folder) {
  uint32_t state = 1;
  const trt::Quantise quantise(folder);
  for (const int64_t dim : {16, 512, 768, 4096}) {
    const int64_t count = 100;
    std::vector<float> rows(static_cast<size_t>(count * dim));
    for (float& x : rows) x = static_cast<float>(static_cast<int>(next(state) % 20001) - 10000);
    for (int64_t d = 0; d < dim; ++d) rows[static_cast<size_t>(d)] = 0.0f;
    rows[static_cast<size_t>(3 * dim - 1)] = NAN;
    std::vector<int8_t> codes(rows.size(), 99);
    std::vector<float> scale(static_cast<size_t>(count), -7.0f);
    const DeviceArray<float> device_rows(rows), device_scale(scale);
    const DeviceArray<int8_t> device_codes(codes);
    quantise.launch(device_rows.get(), count, dim, Element::kFloat32, device_codes.get(),
                    device_scale.get(), nullptr);
    crosscam::normalise_quantise({rows.data(), count, dim, dim, 1, {}}, codes.data(), scale.data());
    CHECK(device_codes.read() == codes);
    const std::vector<float> found = device_scale.read();
    for (size_t n = 0; n < found.size(); ++n) {
      CHECK(std::isnan(scale[n]) ? std::isnan(found[n])
                                 : std::abs(found[n] - scale[n]) <= 1e-6f * scale[n]);
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (!cuda::cuda_available()) {
    std::fprintf(stderr, "skipped: %s\n", cuda::cuda_unavailable_reason().c_str());
    return kSkipped;
  }
  if (count < 2 || arguments[1][0] == '\0') {
    std::fprintf(stderr, "skipped: no folder of kernels was named\n");
    return kSkipped;
  }
  const auto folder = std::make_shared<const trt::KernelFolder>(arguments[1]);
  const cuda::Device device;
  const cuda::CurrentContext current(device);
  searching_equals_the_processor<float>(folder, Element::kFloat32);
  searching_equals_the_processor<uint16_t>(folder, Element::kFloat16);
  codes_are_those_of_the_processor(folder);
  return 0;
}
