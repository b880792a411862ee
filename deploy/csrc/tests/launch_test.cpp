// Shapes, workspaces and launches, on a driver that only records: the same launches as those that
// the Python plugins describe to TensorRT (launches.txt, written by tests/deploy/trt_fixture.py).
#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "cuda_parts.h"
#include "errors.h"
#include "fixture.h"
#include "quantise.h"
#include "search.h"

namespace {

using namespace crosscam::trt;
using crosscam::cuda::Driver;

void* at(uintptr_t address) { return reinterpret_cast<void*>(address); }
void* const kStream = at(0x77);

const Driver& driver() {
  static const Driver loaded(kFake);
  return loaded;
}

std::shared_ptr<const KernelFolder> folder() {
  static const auto read = std::make_shared<const KernelFolder>(FIXTURE);
  return read;
}

Search search(int32_t k) { return Search(folder(), k, &driver()); }

Element element(const std::string& word) {
  CHECK(word == "fp32" || word == "fp16");
  return word == "fp32" ? Element::kFloat32 : Element::kFloat16;
}

SearchTensors tensors(bool masked) {
  SearchTensors given{};
  given.queries = at(0x1000);
  given.gallery = at(0x2000);
  if (masked) {
    given.valid = at(0x3000);
    given.query_camera = at(0x4000);
    given.gallery_camera = at(0x5000);
  }
  given.similarity = static_cast<float*>(at(0x6000));
  given.index = static_cast<int64_t*>(at(0x7000));
  return given;
}

void start() {
  reset();
  fake_cuda().capability = 87;
}

/// The integers of a launch between `inputs` and `outputs` pointers and two hidden ones.
std::string line_of(const FakeLaunch& launch, const std::vector<uint64_t>& inputs,
                    const std::vector<uint64_t>& outputs) {
  std::string line = launch.function;
  for (const unsigned size : launch.grid_and_block) line += " " + std::to_string(size);
  line += " " + std::to_string(launch.shared_bytes);
  const auto& given = launch.arguments;
  CHECK(given.size() > inputs.size() + outputs.size() + 2);
  CHECK(std::equal(inputs.begin(), inputs.end(), given.begin()));
  const auto end = given.end() - static_cast<int64_t>(outputs.size()) - 2;
  CHECK(std::equal(outputs.begin(), outputs.end(), end));
  CHECK(given[given.size() - 2] == 0 && given.back() == 0);
  CHECK(launch.stream == kStream && launch.contexts == 1);
  for (auto integer = given.begin() + static_cast<int64_t>(inputs.size()); integer != end;
       ++integer) {
    line += " " + std::to_string(*integer);
  }
  return line;
}

void launches_are_those_of_the_python_plugins() {
  std::ifstream file(LAUNCHES);
  int cases = 0;
  for (std::string line, first, second; std::getline(file, line); ++cases) {
    std::istringstream words(line);
    std::string what, type;
    words >> what >> type;
    start();
    if (what == "search") {
      int masked = 0;
      SearchSizes sizes{};
      words >> masked >> sizes.queries >> sizes.gallery >> sizes.dim;
      fake_cuda().parameters_in_turn = {masked != 0 ? 21 : 18, 7};
      search(16).launch(tensors(masked != 0), sizes, element(type), at(0x10000), kStream);
      CHECK(std::getline(file, first) && std::getline(file, second));
      CHECK(fake_cuda().launches.size() == 2 && fake_cuda().copies.empty());
      std::vector<uint64_t> inputs{0x1000, 0x2000};
      if (masked != 0) inputs.insert(inputs.end(), {0x3000, 0x4000, 0x5000});
      CHECK(line_of(fake_cuda().launches[0], inputs, {0x10000}) == first);
      CHECK(line_of(fake_cuda().launches[1], {0x10000}, {0x6000, 0x7000}) == second);
      const std::string masks = masked != 0 ? "masked_" : "";
      CHECK(fake_cuda().loaded[0] ==
            "code of similarity_stream_plugin_" + masks + type + "_16_k16 for sm_87\n");
      CHECK(fake_cuda().loaded[1] == "code of similarity_merge_k16 for sm_87\n");
    } else {
      CHECK(what == "quantise");
      int64_t count = 0, dim = 0;
      words >> count >> dim;
      fake_cuda().parameters = 7;
      const Quantise quantise(folder(), &driver());
      quantise.launch(at(0x1000), count, dim, element(type), static_cast<int8_t*>(at(0x2000)),
                      static_cast<float*>(at(0x3000)), kStream);
      CHECK(std::getline(file, first) && fake_cuda().launches.size() == 1);
      CHECK(line_of(fake_cuda().launches[0], {0x1000}, {0x2000, 0x3000}) == first);
    }
  }
  CHECK(cases == 37);
}

void short_answers_are_cut_out_of_the_lists() {
  start();
  const Search ten = search(10);
  const SearchSizes sizes{3, 1000, 64};
  fake_cuda().parameters_in_turn = {18, 7};
  ten.launch(tensors(false), sizes, Element::kFloat32, at(0x10000), kStream);
  const auto& merge = fake_cuda().launches[1].arguments;
  const uint64_t keys = 3 * 8 * 16 * 8;  // 8 parts of 128 rows: 3072 bytes, a multiple of 256
  CHECK(merge[0] == 0x10000 && merge[3] == 0x10000 + keys && merge[4] == 0x10000 + keys + 256);
  CHECK(fake_cuda().copies.size() == 2);
  const FakeCopy& similarity = fake_cuda().copies[0];
  CHECK(similarity.from == at(0x10000 + keys) && similarity.to == at(0x6000));
  CHECK(similarity.from_pitch == 64 && similarity.to_pitch == 40 && similarity.width_bytes == 40);
  CHECK(similarity.height == 3 && similarity.stream == kStream && similarity.after == 2);
  const FakeCopy& index = fake_cuda().copies[1];
  CHECK(index.from == at(0x10000 + keys + 256) && index.to == at(0x7000));
  CHECK(index.from_pitch == 128 && index.to_pitch == 80 && index.width_bytes == 80);
  CHECK(ten.workspace_bytes(sizes) == keys + 256 + 512);
  CHECK(search(16).workspace_bytes(sizes) == keys);
}

void an_empty_gallery_answers_that_nothing_is_found() {
  start();
  fake_cuda().parameters = 7;
  search(16).launch(tensors(false), {5, 0, 64}, Element::kFloat32, nullptr, kStream);
  CHECK(fake_cuda().launches.size() == 1);  // the merge of no keys
  const FakeLaunch& merge = fake_cuda().launches[0];
  CHECK(merge.function == "merge_kernel" && merge.grid_and_block[0] == 5);
  CHECK(merge.arguments[1] == 0 && merge.arguments[2] == 1);
  start();
  search(16).launch(tensors(false), {0, 100, 64}, Element::kFloat32, nullptr, kStream);
  CHECK(fake_cuda().launches.empty());
}

void one_block_merges_all_parts_and_workspaces_hold_every_smaller_search() {
  const Search full = search(16);
  const SearchFields& fields = full.fields();
  CHECK(fields.k == 16 && fields.lists == 16 && fields.tile_rows == 128);
  CHECK(fields.most_parts == 128);
  size_t needed = 0;
  for (int64_t rows = 0; rows < 70'000; rows += rows % 128 == 1 ? 126 : 1) {
    const Parts parts = split_gallery(rows, fields);
    CHECK(parts.count <= fields.most_parts && parts.rows % 128 == 0);
    CHECK(parts.count * parts.rows >= rows);
    CHECK(rows == 0 || (parts.count - 1) * parts.rows < rows);
    needed = std::max(needed, static_cast<size_t>(3 * parts.count * 16 * 8));
    CHECK(full.workspace_bytes({3, rows, 64}) >= needed);
    CHECK(full.workspace_bytes({3, rows, 64}) <= size_t{3 * 128 * 16 * 8});
  }
  CHECK(split_gallery(16'384, fields).count == 128 && split_gallery(16'385, fields).count == 65);
}

void sizes_that_the_kernels_do_not_take_are_refused() {
  const Search given = search(10);
  const auto refusal = [&](const SearchSizes& sizes, Element type = Element::kFloat32) {
    return thrown<InputError>([&] { given.check(sizes, type, false); });
  };
  CHECK(contains(refusal({1, 1, 48}), "length 48. Expected: a multiple of 32"));
  CHECK(contains(refusal({1, 1, 32}, Element::kFloat16), "a multiple of 64"));
  CHECK(contains(refusal({1, 1, 0}), "length 0"));
  CHECK(contains(refusal({-1, 1, 64}), "-1 queries"));
  CHECK(contains(refusal({1 << 23, 1, 64}), "queries"));
  CHECK(contains(refusal({1, int64_t{1} << 31, 64}), "gallery rows"));
  CHECK(
      contains(refusal({1, 1, 64}, Element::kBFloat16), "no kernel similarity_stream_plugin_bf16"));
  CHECK(contains(thrown<InputError>([] { search(17); }), "17 results. Expected: 1 to 16"));
  CHECK(contains(thrown<InputError>([] { search(0); }), "0 results"));
  const Quantise quantise(folder(), &driver());
  CHECK(contains(thrown<InputError>([&] { quantise.check(1, 100, Element::kFloat32); }),
                 "length 100 to quantise. Expected: a multiple of 16"));
  CHECK(contains(thrown<InputError>([&] { quantise.check(1, 1024, Element::kFloat16); }),
                 "no kernel normalise_quantise_fp16_2048"));
  CHECK(quantise.has(Element::kFloat16) && !quantise.has(Element::kBFloat16));
  CHECK(given.has(Element::kFloat16, true) && !given.has(Element::kBFloat16, false));
}

void launches_that_would_read_elsewhere_are_refused() {
  start();
  const Search given = search(16);
  const SearchSizes sizes{3, 1000, 64};
  const auto run = [&](const SearchTensors& with, void* workspace) {
    given.launch(with, sizes, Element::kFloat32, workspace, kStream);
  };
  CHECK(contains(thrown<InputError>([&] { run(tensors(false), nullptr); }), "without a workspace"));
  SearchTensors some = tensors(true);
  some.query_camera = nullptr;
  CHECK(contains(thrown<InputError>([&] { run(some, at(0x10000)); }), "some of the masks"));
  SearchTensors crooked = tensors(false);
  crooked.gallery = at(0x2004);
  CHECK(contains(thrown<std::invalid_argument>([&] { run(crooked, at(0x10000)); }), "gallery = "));
  CHECK(fake_cuda().launches.empty());
}

void kernels_of_another_crosscam_are_refused() {
  const CopiedKernels copy;
  const auto open = [&] { return std::make_shared<const KernelFolder>(copy.path()); };
  const SearchFields built = search(10).fields();
  CHECK(Search(open(), built, &driver()).fields() == built);
  const std::string stream = "\"similarity_stream_plugin_fp32_16_k16\"";
  copy.change("manifest.json", "\"BN\": 128", "\"BN\": 64", stream);
  CHECK(contains(thrown<InputError>([&] { Search(open(), 10, &driver()); }), "as the others do"));
  for (const char* const other : {"fp16", "masked_fp16", "masked_fp32"}) {
    copy.change("manifest.json", "\"BN\": 128", "\"BN\": 64",
                std::string("\"similarity_stream_plugin_") + other + "_16_k16\"");
  }
  CHECK(contains(thrown<InputError>([&] { Search(open(), built, &driver()); }),
                 "tiles of 128 rows, 128 parts, for which the engine was built"));
  CHECK(Search(open(), 10, &driver()).fields().tile_rows == 64);
  copy.change("manifest.json", "\"unbounded\"", "\"bounded\"", stream);
  start();
  const Search strange(open(), 16, &driver());
  CHECK(contains(thrown<InputError>([&] {
                   strange.launch(tensors(false), {1, 100, 64}, Element::kFloat32, at(0x10000),
                                  kStream);
                 }),
                 "takes bounded"));
  copy.change("manifest.json", "\"K\": 16", "\"K\": 8", "\"similarity_merge_k16\"");
  CHECK(contains(thrown<InputError>([&] { Search(open(), 10, &driver()); }), "lists of 8"));
}

void kernels_are_loaded_once_for_each_context() {
  start();
  const Search given = search(16);
  given.prepare(Element::kFloat32, false);
  CHECK(fake_cuda().loaded.size() == 2 && fake_cuda().retained == 0);
  given.launch(tensors(false), {1, 100, 64}, Element::kFloat32, at(0x10000), kStream);
  CHECK(fake_cuda().loaded.size() == 2);
  fake_cuda().current = at(41);
  given.prepare(Element::kFloat32, false);
  CHECK(fake_cuda().loaded.size() == 4);
  fake_cuda().current = nullptr;
  CHECK(
      contains(thrown<crosscam::cuda::CudaError>([&] { given.prepare(Element::kFloat32, false); }),
               "no CUDA context"));
  fake_cuda().current = at(40);
  fake_cuda().fail["cuMemcpy2DAsync_v2"] = 700;
  CHECK(contains(thrown<crosscam::cuda::CudaError>([&] {
                   search(3).launch(tensors(false), {1, 100, 64}, Element::kFloat32, at(0x10000),
                                    kStream);
                 }),
                 "copying the results"));
}

void types_of_all_places() {
  Type type{};
  const auto told = [&](int place, int inputs) {
    CHECK(search_type(place, inputs, Type::kFloat16, type));
    return type;
  };
  CHECK(told(0, 2) == Type::kFloat16 && told(1, 2) == Type::kFloat16);
  CHECK(told(2, 2) == Type::kFloat32 && told(3, 2) == Type::kInt64);
  CHECK(told(1, 5) == Type::kFloat16 && told(2, 5) == Type::kBool && told(3, 5) == Type::kInt32);
  CHECK(told(4, 5) == Type::kInt32 && told(5, 5) == Type::kFloat32 && told(6, 5) == Type::kInt64);
  CHECK(!search_type(4, 2, Type::kFloat16, type) && !search_type(7, 5, Type::kFloat16, type));
  CHECK(!search_type(0, 3, Type::kFloat16, type) && !search_type(-1, 2, Type::kFloat16, type));
  CHECK(quantise_type(0, Type::kFloat16, type) && type == Type::kFloat16);
  CHECK(quantise_type(1, Type::kFloat16, type) && type == Type::kInt8);
  CHECK(quantise_type(2, Type::kFloat16, type) && type == Type::kFloat32);
  CHECK(!quantise_type(3, Type::kFloat16, type));
}

}  // namespace

int main() {
  launches_are_those_of_the_python_plugins();
  short_answers_are_cut_out_of_the_lists();
  an_empty_gallery_answers_that_nothing_is_found();
  one_block_merges_all_parts_and_workspaces_hold_every_smaller_search();
  sizes_that_the_kernels_do_not_take_are_refused();
  launches_that_would_read_elsewhere_are_refused();
  kernels_of_another_crosscam_are_refused();
  kernels_are_loaded_once_for_each_context();
  types_of_all_places();
  return 0;
}
