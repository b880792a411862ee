// The host side of the CUDA backend, on a driver that only records (fake_cuda.h) and with the
// kernels of cuda_fixture/. What a real device computes is not tested here.
#include <cstring>
#include <functional>
#include <limits>
#include <string>

#include "check.h"
#include "cuda/arguments.h"
#include "cuda/driver.h"
#include "cuda/kernels.h"
#include "cuda/module.h"
#include "cuda/operators.h"
#include "fake_cuda.h"

namespace {

using namespace crosscam::cuda;

constexpr const char* kFake = FAKE_CUDA_LIBRARY;
const void* const kRows = reinterpret_cast<void*>(0x1000);
int8_t* const kCodes = reinterpret_cast<int8_t*>(0x2000);
float* const kScale = reinterpret_cast<float*>(0x3000);
void* const kStream = reinterpret_cast<void*>(0x77);

/// Message of the exception that `body` must throw.
template <typename Error>
std::string thrown(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  CHECK(!"an exception was expected");
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  std::fprintf(stderr, "'%s' does not contain '%s'\n", text.c_str(), part.c_str());
  return false;
}

void reset() { fake_cuda() = FakeCuda{}; }

void a_missing_driver_is_said_so() {
  const auto absent = thrown<CudaError>([] { Driver driver("libcrosscam_absent.so.1"); });
  CHECK(contains(absent, "cannot be loaded") && contains(absent, "libcrosscam_absent.so.1"));
  CHECK(contains(absent, "What to do"));
  const auto other = thrown<CudaError>([] { Driver driver(NO_DRIVER_LIBRARY); });
  CHECK(contains(other, "has no function cuInit"));
  CHECK(cuda_available() == cuda_unavailable_reason().empty());  // whatever machine this is
}

void the_driver_answers() {
  reset();
  const Driver driver(kFake);
  CHECK(driver.count() == 1);
  CHECK(driver.version() == 13000);
  {
    const Device device(0, driver);
    CHECK(device.capability() == 90);
    CHECK(device.max_shared_bytes() == 232448);
    CHECK(device.name() == "Fake device");
    CHECK(fake_cuda().retained == 1);
  }
  CHECK(fake_cuda().retained == 0);
  for (const int ordinal : {-1, 1}) {
    CHECK(contains(thrown<CudaError>([&] { Device device(ordinal, driver); }),
                   "there is no CUDA device " + std::to_string(ordinal)));
  }
}

void a_driver_without_a_device_counts_none() {
  reset();
  fake_cuda().fail["cuInit"] = 100;
  fake_cuda().fail["cuDeviceGetCount"] = 3;  // not initialised: what the real one answers then
  const Driver driver(kFake);
  CHECK(driver.count() == 0);
}

void errors_of_the_driver_have_names() {
  reset();
  fake_cuda().fail["cuInit"] = 803;
  const auto message = thrown<CudaError>([] { Driver driver(kFake); });
  CHECK(contains(message,
                 "starting the CUDA driver failed: CUDA_ERROR_OF_THE_TEST (803), "
                 "as the test wished."));
  fake_cuda().fail["cuInit"] = 999;
  CHECK(contains(thrown<CudaError>([] { Driver driver(kFake); }), "unknown error (999)"));
  reset();
  const Driver driver(kFake);
  for (const char* symbol : {"cuDeviceGet", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain"}) {
    reset();
    fake_cuda().fail[symbol] = 2;
    try {
      Device device(0, driver);
      CHECK(false);
    } catch (const CudaError& error) {
      CHECK(error.code == 2);
    }
  }
}

const Kernel& narrow() { return find_kernel(embedded_kernels(), "normalise_quantise_fp32_512"); }
const Kernel& wide() { return find_kernel(embedded_kernels(), "normalise_quantise_fp16_2048"); }

void the_table_is_that_of_the_manifest() {
  CHECK(embedded_kernels().size() == 5);
  CHECK(narrow().parameters.size() == 5 && narrow().images.size() == 4);
  CHECK(std::string(narrow().parameters[0].name) == "rows_ptr");
  CHECK(narrow().parameters[0].type == ParameterType::kPointer);
  CHECK(narrow().parameters[0].divisible_by == 16);
  CHECK(narrow().parameters[1].type == ParameterType::kInt32);
  const Image& ampere = narrow().images[0];
  CHECK(ampere.capability == 80 && !ampere.exact);
  CHECK(std::string(ampere.entry) == "normalise_quantise_kernel");
  CHECK(ampere.block_threads == 64 && ampere.shared_bytes == 8 && ampere.hidden_parameters == 2);
  CHECK(std::string(reinterpret_cast<const char*>(ampere.binary)) ==
        "cubin of normalise_quantise_fp32_512.sm_80\n");
  CHECK(std::string(ampere.ptx) == "ptx of normalise_quantise_fp32_512.sm_80\n");
  const Image& hopper = narrow().images[3];
  CHECK(hopper.capability == 90 && hopper.exact && hopper.ptx == nullptr);
  const auto message = thrown<std::invalid_argument>([] { find_kernel(embedded_kernels(), "no"); });
  CHECK(contains(message, "no kernel 'no'") && contains(message, "merge_topk"));
}

void images_are_chosen_by_the_rules_of_cuda() {
  const auto choice = [](int capability) {
    const Choice found = choose_image(narrow(), capability);
    return found.image->capability + (found.from_ptx ? 1000 : 0);
  };
  CHECK(choice(80) == 80 && choice(86) == 86 && choice(87) == 87 && choice(90) == 90);
  CHECK(choice(89) == 86);  // same generation, but not the binary of a Tegra
  CHECK(choice(88) == 86);
  CHECK(choice(100) == 1087);  // sm_90a runs nowhere else: newest PTX
  CHECK(choice(121) == 1087);
  const auto message = thrown<CudaError>([&] { choice(75); });
  CHECK(contains(message, "does not run on sm_75. Expected: one of sm_80, sm_86, sm_87, sm_90a"));
  thrown<CudaError>([] { choose_image(wide(), 100); });
  const Kernel& fat = find_kernel(embedded_kernels(), "merge_topk");
  CHECK(choose_image(fat, 75).image == &fat.images[0] && !choose_image(fat, 75).from_ptx);

  const Image images[] = {{86, false, "", 32, 0, 0, nullptr, nullptr}};
  thrown<CudaError>([&] { choose_image({"desktop", {}, images}, 87); });  // on a Tegra
  thrown<CudaError>([&] { choose_image({"newer", {}, images}, 80); });    // on an older device
  const Image exact[] = {{120, true, "", 32, 0, 0, nullptr, nullptr}};
  thrown<CudaError>([&] { choose_image({"exact", {}, exact}, 121); });  // sm_120a is no sm_121
}

void arguments_are_packed_in_order() {
  const Parameter parameters[] = {
      {"a", ParameterType::kPointer, 16}, {"b", ParameterType::kInt8, 1},
      {"c", ParameterType::kInt16, 1},    {"d", ParameterType::kInt32, 16},
      {"e", ParameterType::kInt64, 1},    {"f", ParameterType::kFloat32, 1},
      {"g", ParameterType::kFloat64, 1},
  };
  const Kernel kernel{"packed", parameters, {}};
  Arguments arguments(kernel);
  arguments.pointer(kRows).integer(-128).integer(-2).integer(-32).integer(int64_t{1} << 40);
  arguments.real(0.5).real(-0.25);
  void** const data = arguments.data(2);
  const auto value = [&](auto example, int i) {
    std::memcpy(&example, data[i], sizeof(example));
    return example;
  };
  CHECK(value(kRows, 0) == kRows);
  CHECK(value(int8_t{}, 1) == -128 && value(int16_t{}, 2) == -2 && value(int32_t{}, 3) == -32);
  CHECK(value(int64_t{}, 4) == int64_t{1} << 40);
  CHECK(value(float{}, 5) == 0.5f && value(double{}, 6) == -0.25);
  CHECK(value(uint64_t{}, 7) == 0 && value(uint64_t{}, 8) == 0);
}

void arguments_that_do_not_fit_are_refused() {
  const auto message = [](const std::function<void(Arguments&)>& body) {
    return thrown<std::invalid_argument>([&] {
      Arguments arguments(narrow());
      body(arguments);
    });
  };
  CHECK(contains(message([](Arguments& a) { a.integer(16); }), "an integer for rows_ptr"));
  CHECK(contains(message([](Arguments& a) { a.real(1.0); }), "a real number for rows_ptr"));
  CHECK(contains(message([](Arguments& a) { a.pointer(reinterpret_cast<void*>(0x1008)); }),
                 "a multiple of 16 bytes"));
  CHECK(contains(message([](Arguments& a) { a.pointer(kRows).pointer(kRows); }),
                 "a pointer for dim"));
  CHECK(contains(message([](Arguments& a) { a.pointer(kRows).integer(100); }),
                 "dim = 100. Expected: a multiple of 16."));
  CHECK(contains(message([](Arguments& a) { a.pointer(kRows).integer(int64_t{1} << 31); }),
                 "does not fit"));
  CHECK(contains(message([](Arguments& a) { a.pointer(kRows).data(2); }),
                 "1 arguments. Expected: 5"));
  const auto complete = [](Arguments& a) {
    a.pointer(kRows).integer(16).integer(16).pointer(nullptr).pointer(nullptr);
  };
  CHECK(contains(message([&](Arguments& a) { complete(a), a.pointer(nullptr); }),
                 "one pointer too many"));
  CHECK(contains(message([&](Arguments& a) { complete(a), a.data(28); }), "at most 32"));
}

void a_module_is_loaded_for_the_device() {
  reset();
  const Driver driver(kFake);
  fake_cuda().capability = 89;
  {
    const Device device(0, driver);
    const CudaModule module(device, narrow());
    CHECK(!module.from_ptx() && module.image().capability == 86);
    CHECK(fake_cuda().loaded.back() == "cubin of normalise_quantise_fp32_512.sm_86\n");
    CHECK(fake_cuda().attributes.empty());  // 8 bytes of shared memory need no permission
    CHECK(fake_cuda().contexts == 0 && fake_cuda().modules == 1);
  }
  CHECK(fake_cuda().modules == 0 && fake_cuda().contexts == 0);
  fake_cuda().capability = 121;
  {
    const Device device(0, driver);
    const CudaModule module(device, narrow());
    CHECK(module.from_ptx());
    CHECK(fake_cuda().loaded.back() == "ptx of normalise_quantise_fp32_512.sm_87\n");
  }
  fake_cuda().capability = 90;
  const Device device(0, driver);
  const CudaModule module(device, wide());
  CHECK(fake_cuda().attributes["normalise_quantise_kernel 8"] == 65536);
}

void a_module_that_does_not_load_says_why() {
  reset();
  const Driver driver(kFake);
  const Device device(0, driver);
  fake_cuda().fail["cuModuleLoadDataEx"] = 218;
  fake_cuda().jit_log = "ptxas: unsupported version";
  CHECK(
      contains(thrown<CudaError>([&] { CudaModule module(device, narrow()); }),
               "loading kernel 'normalise_quantise_fp32_512' [ptxas: unsupported version] failed"));
  for (const char* symbol : {"cuModuleGetFunction", "cuFuncSetAttribute"}) {
    fake_cuda().fail = {{symbol, 500}};
    thrown<CudaError>([&] { CudaModule module(device, wide()); });
    CHECK(fake_cuda().modules == 0 && fake_cuda().contexts == 0);
  }
  fake_cuda().fail = {{"cuCtxPushCurrent_v2", 201}};
  thrown<CudaError>([&] { CudaModule module(device, wide()); });
  CHECK(fake_cuda().contexts == 0);
  reset();
  fake_cuda().max_shared_bytes = 49152;
  const Device small(0, driver);
  CHECK(contains(thrown<CudaError>([&] { CudaModule module(small, wide()); }),
                 "takes 65536 bytes of shared memory. Expected: at most the 49152"));
}

void operators_launch_the_right_kernel() {
  reset();
  const Driver driver(kFake);
  const Device device(0, driver);
  Operators operators(device);
  fake_cuda().parameters = 7;  // five and two hidden ones
  const DeviceRows rows{kRows, Element::kFloat32, 1000, 256, 512};
  operators.normalise_quantise(rows, kCodes, kScale, kStream);
  const FakeLaunch& launch = fake_cuda().launches.at(0);
  CHECK(launch.function == "normalise_quantise_kernel");
  CHECK((launch.grid_and_block == std::vector<unsigned>{1000, 1, 1, 64, 1, 1}));
  CHECK(launch.shared_bytes == 8 && launch.stream == kStream && launch.contexts == 1);
  CHECK((launch.arguments == std::vector<uint64_t>{0x1000, 256, 512, 0x2000, 0x3000, 0, 0}));
  CHECK(fake_cuda().loaded.back() == "cubin of normalise_quantise_fp32_512.sm_90\n");

  operators.normalise_quantise({kRows, Element::kFloat16, 3, 1024, 1024}, kCodes, kScale, kStream);
  CHECK(fake_cuda().launches.at(1).grid_and_block.at(3) == 256);
  CHECK(fake_cuda().launches.at(1).shared_bytes == 65536);
  CHECK(fake_cuda().loaded.back() == "cubin of normalise_quantise_fp16_2048.sm_90\n");

  const size_t loaded = fake_cuda().loaded.size();
  operators.normalise_quantise(rows, kCodes, kScale, kStream);
  CHECK(fake_cuda().loaded.size() == loaded && fake_cuda().launches.size() == 3);

  operators.normalise_quantise({kRows, Element::kFloat32, 0, 256, 256}, kCodes, kScale, kStream);
  CHECK(fake_cuda().launches.size() == 3);  // nothing to do
  CHECK(contains(thrown<std::invalid_argument>([&] {
                   operators.normalise_quantise({kRows, Element::kBFloat16, 1, 256, 256}, kCodes,
                                                kScale, kStream);
                 }),
                 "no kernel 'normalise_quantise_bf16_512'"));
  CHECK(contains(thrown<std::invalid_argument>([&] {
                   operators.normalise_quantise(
                       {kRows, Element::kFloat32, int64_t{1} << 31, 16, 16}, kCodes, kScale,
                       kStream);
                 }),
                 "2147483648 blocks"));
  fake_cuda().fail["cuLaunchKernel"] = 719;
  CHECK(contains(
      thrown<CudaError>([&] { operators.normalise_quantise(rows, kCodes, kScale, kStream); }),
      "launching kernel 'normalise_quantise_fp32_512' failed"));
  CHECK(fake_cuda().contexts == 0);
}

void merging_is_launched_for_every_query() {
  reset();
  const Driver driver(kFake);
  const Device device(0, driver);
  Operators operators(device);
  fake_cuda().parameters = 6;
  const auto* const candidates = reinterpret_cast<uint64_t*>(0x8000);
  auto* const index = reinterpret_cast<int64_t*>(0x9000);
  operators.merge_topk(candidates, 64, 5000, 10, kScale, index, kStream);
  const FakeLaunch& launch = fake_cuda().launches.at(0);
  CHECK(launch.function == "merge_topk_kernel");
  CHECK((launch.grid_and_block == std::vector<unsigned>{64, 1, 1, 256, 1, 1}));
  CHECK((launch.arguments == std::vector<uint64_t>{0x8000, 5000, 0, 10, 0x3000, 0x9000}));
  CHECK(fake_cuda().loaded.back() == "fatbin of merge_topk\n");
  for (const int k : {-1, 1025}) {
    CHECK(contains(thrown<std::invalid_argument>([&] {
                     operators.merge_topk(candidates, 64, 5000, k, kScale, index, kStream);
                   }),
                   "k of 0 to 1024"));
  }
}

DeviceSearch half_search() {
  DeviceSearch search;
  search.queries = reinterpret_cast<void*>(0x10000);
  search.gallery = reinterpret_cast<void*>(0x20000);
  search.element = Element::kFloat16;
  search.query_count = 40;
  search.gallery_count = 1'000'000;
  search.dim = 512;
  search.query_stride = 528;
  search.gallery_stride = 512;
  search.k = 10;
  return search;
}

DeviceSearch masked_search() {
  DeviceSearch search = half_search();
  search.element = Element::kInt8;
  search.query_scale = reinterpret_cast<float*>(0x30000);
  search.gallery_scale = reinterpret_cast<float*>(0x40000);
  search.valid = reinterpret_cast<uint8_t*>(0x50000);
  search.query_camera = reinterpret_cast<int32_t*>(0x60000);
  search.gallery_camera = reinterpret_cast<int32_t*>(0x70000);
  return search;
}

void* const kWorkspace = reinterpret_cast<void*>(0x80000);
int64_t* const kIndex = reinterpret_cast<int64_t*>(0x90000);
constexpr size_t kPlenty = size_t{1} << 40;

void every_row_of_the_gallery_is_in_one_split() {
  DeviceSearch search = half_search();
  for (const int64_t queries : {1, 16, 17, 1000, 100'000}) {
    for (const int64_t rows : {1, 127, 128, 129, 5000, 1'000'000, 2'000'000'000}) {
      for (const int processors : {1, 16, 132}) {
        search.query_count = queries;
        search.gallery_count = rows;
        const SearchSplit split = split_search(search, processors);
        CHECK(split.query_blocks * 16 >= queries && (split.query_blocks - 1) * 16 < queries);
        CHECK(split.rows_per_split % 128 == 0);
        CHECK(split.splits * split.rows_per_split >= rows);
        CHECK((split.splits - 1) * split.rows_per_split < rows);  // none is empty
        CHECK(split.splits == 1 || split.splits * split.query_blocks <= 4 * processors);
      }
    }
  }
}

void a_search_is_two_launches() {
  reset();
  const Driver driver(kFake);
  const Device device(0, driver);
  Operators operators(device);
  const DeviceSearch search = half_search();
  // 132 * 4 blocks for 3 blocks of queries: 176 splits of 45 tiles, of which 174 have rows.
  const size_t needed = operators.search_workspace_bytes(search);
  CHECK(needed == size_t{40} * 174 * 16 * 8);
  fake_cuda().parameters = 6;
  operators.similarity_topk(search, kWorkspace, needed, kScale, kIndex, kStream);
  const FakeLaunch& merge = fake_cuda().launches.at(1);
  CHECK(merge.function == "merge_topk_kernel" && merge.stream == kStream);
  CHECK((merge.grid_and_block == std::vector<unsigned>{40, 1, 1, 256, 1, 1}));
  CHECK((merge.arguments ==
         std::vector<uint64_t>{0x80000, 174 * 16, uint64_t{1} << 63, 10, 0x3000, 0x90000}));

  reset();
  fake_cuda().fail["cuLaunchKernel"] = 700;  // before the merge, which has fewer arguments
  fake_cuda().parameters = 18;
  CHECK(contains(thrown<CudaError>([&] {
                   operators.similarity_topk(search, kWorkspace, needed, kScale, kIndex, kStream);
                 }),
                 "launching kernel 'similarity_stream_plugin_fp16_16_k16' failed"));
  const FakeLaunch& stream = fake_cuda().launches.at(0);
  CHECK(stream.function == "stream_kernel" && stream.stream == kStream);
  CHECK((stream.grid_and_block == std::vector<unsigned>{3 * 174, 1, 1, 128, 1, 1}));
  CHECK(stream.shared_bytes == 36864);
  CHECK((stream.arguments == std::vector<uint64_t>{0x10000, 0x20000, 40, 1'000'000, 512, 528, 512,
                                                   0, 0, 0, 0, 0, 3, 174, 5760, 0x80000, 0, 0}));
}

void masks_and_scales_go_where_the_kernel_takes_them() {
  reset();
  const Driver driver(kFake);
  fake_cuda().multiprocessors = 1;
  const Device device(0, driver);
  Operators operators(device);
  DeviceSearch search = masked_search();
  search.query_count = 3;
  search.gallery_count = 300;
  search.query_stride = 512;
  CHECK(operators.search_workspace_bytes(search) == size_t{3} * 3 * 16 * 8);
  fake_cuda().parameters = 23;
  fake_cuda().fail["cuLaunchKernel"] = 700;
  thrown<CudaError>(
      [&] { operators.similarity_topk(search, kWorkspace, kPlenty, kScale, kIndex, nullptr); });
  CHECK(fake_cuda().loaded.back() == "cubin of similarity_stream_plugin_masked_i8_16_k16.sm_90\n");
  CHECK((fake_cuda().launches.at(0).arguments ==
         std::vector<uint64_t>{0x10000, 0x20000, 0x30000, 0x40000, 0x50000, 0x60000, 0x70000, 3,
                               300,     512,     512,     512,     0,       0,       0,       0,
                               0,       1,       3,       128,     0x80000, 0,       0}));
}

void an_empty_gallery_has_no_results_and_no_queries_none_to_write() {
  reset();
  const Driver driver(kFake);
  const Device device(0, driver);
  Operators operators(device);
  fake_cuda().parameters = 6;
  DeviceSearch search = half_search();
  search.gallery_count = 0;
  search.gallery = nullptr;
  CHECK(operators.search_workspace_bytes(search) == 0);
  operators.similarity_topk(search, nullptr, 0, kScale, kIndex, kStream);
  CHECK(fake_cuda().launches.size() == 1);  // the merge of nothing: -infinity and -1
  CHECK((fake_cuda().launches.at(0).arguments ==
         std::vector<uint64_t>{0, 0, uint64_t{1} << 63, 10, 0x3000, 0x90000}));
  search = half_search();
  search.query_count = 0;
  operators.similarity_topk(search, nullptr, 0, nullptr, nullptr, kStream);
  search = half_search();
  search.k = 0;
  operators.similarity_topk(search, nullptr, 0, nullptr, nullptr, kStream);
  CHECK(fake_cuda().launches.size() == 1);
}

void a_search_that_the_kernels_do_not_take_is_refused() {
  reset();
  const Driver driver(kFake);
  const Device device(0, driver);
  Operators operators(device);
  const auto message = [&](const std::function<void(DeviceSearch&)>& change) {
    DeviceSearch search = masked_search();
    search.query_stride = 512;
    change(search);
    return thrown<std::invalid_argument>(
        [&] { operators.similarity_topk(search, kWorkspace, kPlenty, kScale, kIndex, nullptr); });
  };
  using Search = DeviceSearch&;
  CHECK(contains(message([](Search s) { s.k = 17; }), "k = 17. Expected: 0 to 16"));
  CHECK(contains(message([](Search s) { s.k = -1; }), "k = -1"));
  CHECK(contains(message([](Search s) { s.dim = 448; }), "a positive multiple of 128"));
  CHECK(contains(message([](Search s) { s.dim = 131200; }), "up to 131072"));
  CHECK(contains(message([](Search s) { s.query_stride = 520; }), "query_stride = 520"));
  CHECK(contains(message([](Search s) { s.gallery_stride = 496; }), "gallery_stride = 496"));
  CHECK(contains(message([](Search s) { s.gallery_count = int64_t{1} << 31; }), "gallery_count"));
  CHECK(contains(message([](Search s) { s.query_count = -1; }), "query_count = -1"));
  CHECK(contains(message([](Search s) { s.gallery_scale = nullptr; }), "both with int8 rows"));
  CHECK(contains(message([](Search s) { s.element = Element::kFloat16; }), "none with others"));
  CHECK(contains(message([](Search s) { s.query_camera = nullptr; }), "2 of the masks"));
  CHECK(contains(message([](Search s) { s.queries = nullptr; }), "a null pointer to the queries"));
  CHECK(contains(message([](Search s) { s.valid += 8; }), "valid = 327688. Expected: a multiple"));
  CHECK(fake_cuda().launches.empty());
  const DeviceSearch search = half_search();
  CHECK(contains(thrown<std::invalid_argument>([&] {
                   operators.similarity_topk(search, kWorkspace, 64, kScale, kIndex, nullptr);
                 }),
                 "a workspace of 64 bytes. Expected: at least 890880"));
  CHECK(contains(thrown<std::invalid_argument>([&] {
                   operators.similarity_topk(search, nullptr, kPlenty, kScale, kIndex, nullptr);
                 }),
                 "a workspace of 0 bytes"));
  CHECK(contains(thrown<std::invalid_argument>([&] {
                   operators.similarity_topk(search, kWorkspace, kPlenty, nullptr, kIndex, nullptr);
                 }),
                 "a null pointer to the results"));
  CHECK(fake_cuda().launches.empty());
}

void arguments_of_another_kernel_are_refused() {
  reset();
  const Driver driver(kFake);
  const Device device(0, driver);
  const CudaModule module(device, narrow());
  Arguments arguments(wide());
  CHECK(contains(thrown<std::invalid_argument>([&] { module.launch(1, arguments, nullptr); }),
                 "for kernel 'normalise_quantise_fp32_512'"));
  CHECK(fake_cuda().launches.empty());
}

}  // namespace

int main() {
  a_missing_driver_is_said_so();
  the_driver_answers();
  a_driver_without_a_device_counts_none();
  errors_of_the_driver_have_names();
  the_table_is_that_of_the_manifest();
  images_are_chosen_by_the_rules_of_cuda();
  arguments_are_packed_in_order();
  arguments_that_do_not_fit_are_refused();
  a_module_is_loaded_for_the_device();
  a_module_that_does_not_load_says_why();
  operators_launch_the_right_kernel();
  merging_is_launched_for_every_query();
  every_row_of_the_gallery_is_in_one_split();
  a_search_is_two_launches();
  masks_and_scales_go_where_the_kernel_takes_them();
  an_empty_gallery_has_no_results_and_no_queries_none_to_write();
  a_search_that_the_kernels_do_not_take_is_refused();
  arguments_of_another_kernel_are_refused();
  return 0;
}
