// What operators of the CUDA backend launch, on a driver that only records (fake_cuda.h) and with
// the kernels of cuda_fixture/. What a real device computes is not tested here.
#include <functional>
#include <string>

#include "cuda/driver.h"
#include "cuda/operators.h"
#include "cuda_parts.h"

namespace {

using namespace crosscam::cuda;

const void* const kRows = reinterpret_cast<void*>(0x1000);
int8_t* const kCodes = reinterpret_cast<int8_t*>(0x2000);
float* const kScale = reinterpret_cast<float*>(0x3000);
void* const kStream = reinterpret_cast<void*>(0x77);

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

}  // namespace

int main() {
  operators_launch_the_right_kernel();
  merging_is_launched_for_every_query();
  every_row_of_the_gallery_is_in_one_split();
  a_search_is_two_launches();
  masks_and_scales_go_where_the_kernel_takes_them();
  an_empty_gallery_has_no_results_and_no_queries_none_to_write();
  a_search_that_the_kernels_do_not_take_is_refused();
  return 0;
}
