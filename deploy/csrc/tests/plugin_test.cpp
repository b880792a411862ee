// The plugins as TensorRT uses them: with its real headers, over a registry, expressions and a
// driver of the test's. The libraries are loaded as a program loads them.
#include <dlfcn.h>

#include <cstdlib>

#include "cuda_parts.h"
#include "fake_nvinfer.h"
#include "plugin_parts.h"
#include "search.h"

namespace {

using nvinfer1::DataType;
using nvinfer1::PluginCapabilityType;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;

FakeLogger logger;

void* at(uintptr_t address) { return reinterpret_cast<void*>(address); }

template <typename F>
F* symbol(void* library, const char* name) {
  void* const found = dlsym(library, name);
  CHECK(found != nullptr);
  return reinterpret_cast<F*>(found);
}

void* load(const char* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  CHECK(library != nullptr);
  return library;
}

using Creators = nvinfer1::IPluginCreatorInterface* const*(int32_t&);

nvinfer1::IPluginCreatorV3One& creator(int which) {
  static auto* const creators = symbol<Creators>(load(PLUGIN_LIBRARY), "getCreators");
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const found = creators(count)[which];
  CHECK(count == 2);
  CHECK(std::string(found->getInterfaceInfo().kind) == "PLUGIN CREATOR_V3ONE");
  return *static_cast<nvinfer1::IPluginCreatorV3One*>(found);
}

struct Plugin {
  explicit Plugin(nvinfer1::IPluginV3* made) : whole(made) {
    CHECK(made != nullptr);
    core = capability<nvinfer1::IPluginV3OneCore>(PluginCapabilityType::kCORE, "PLUGIN_V3ONE_CORE");
    build =
        capability<nvinfer1::IPluginV3OneBuild>(PluginCapabilityType::kBUILD, "PLUGIN_V3ONE_BUILD");
    runtime = capability<nvinfer1::IPluginV3OneRuntime>(PluginCapabilityType::kRUNTIME,
                                                        "PLUGIN_V3ONE_RUNTIME");
  }

  template <typename T>
  T* capability(PluginCapabilityType type, const char* kind) const {
    nvinfer1::IPluginCapability* const found = whole->getCapabilityInterface(type);
    CHECK(found != nullptr && found->getInterfaceInfo().kind == std::string(kind));
    CHECK(found->getInterfaceInfo().major == 1);
    return static_cast<T*>(found);
  }

  std::unique_ptr<nvinfer1::IPluginV3> whole;
  nvinfer1::IPluginV3OneCore* core;
  nvinfer1::IPluginV3OneBuild* build;
  nvinfer1::IPluginV3OneRuntime* runtime;
};

nvinfer1::IPluginV3* create(int which, std::vector<PluginField> fields,
                            TensorRTPhase phase = TensorRTPhase::kBUILD) {
  logger.last.clear();
  const PluginFieldCollection given{static_cast<int32_t>(fields.size()), fields.data()};
  return creator(which).createPlugin("test", &given, phase);
}

PluginField integer(const char* name, const int32_t& value) {
  return {name, &value, PluginFieldType::kINT32, 1};
}

nvinfer1::IPluginV3* search(const int32_t& k) { return create(0, {integer("k", k)}); }

std::vector<PluginField> stored(const Plugin& plugin) {
  const PluginFieldCollection* const found = plugin.runtime->getFieldsToSerialize();
  return {found->fields, found->fields + found->nbFields};
}

std::string told(const std::vector<PluginField>& fields) {
  std::string text;
  for (const PluginField& field : fields) {
    CHECK(field.type == PluginFieldType::kINT32 && field.length == 1);
    text += std::string(field.name) + "=" +
            std::to_string(*static_cast<const int32_t*>(field.data)) + " ";
  }
  return text;
}

void without_kernels_there_is_no_plugin() {
  unsetenv("CROSSCAM_KERNELS");
  CHECK(search(10) == nullptr);
  CHECK(contains(logger.last, "crosscam::SimilarityTopK: "));
  CHECK(contains(logger.last, "/kernels/manifest.json cannot be read"));
  setenv("CROSSCAM_KERNELS", FIXTURE, 1);
}

void creators_tell_what_the_parser_asks() {
  const char* const names[] = {"SimilarityTopK", "NormaliseQuantise"};
  for (const int which : {0, 1}) {
    nvinfer1::IPluginCreatorV3One& found = creator(which);
    CHECK(std::string(found.getPluginName()) == names[which]);
    CHECK(std::string(found.getPluginVersion()) == "1");
    CHECK(std::string(found.getPluginNamespace()) == "crosscam");
    const PluginFieldCollection* const fields = found.getFieldNames();
    CHECK(fields->nbFields == 1 - which);
    if (which == 0) {
      CHECK(std::string(fields->fields[0].name) == "k");
      CHECK(fields->fields[0].type == PluginFieldType::kINT32);
    }
  }
}

void fields_are_checked() {
  const int32_t k = 10, big = 17;
  const int64_t wide = 10;
  CHECK(create(0, {}) == nullptr && contains(logger.last, "no field 'k'"));
  CHECK(search(big) == nullptr && contains(logger.last, "17 results"));
  CHECK(create(0, {integer("k", k), integer("n", k)}) == nullptr);
  CHECK(contains(logger.last, "a field 'n'"));
  CHECK(create(0, {{"k", &wide, PluginFieldType::kINT64, 1}}) == nullptr);
  CHECK(contains(logger.last, "the field k. Expected: a 32-bit integer"));
  CHECK(create(0, {{"k", nullptr, PluginFieldType::kINT32, 1}}) == nullptr);
  CHECK(create(1, {integer("k", k)}) == nullptr && contains(logger.last, "a field 'k'"));
  const Plugin parsed(create(0, {{"k", &k, PluginFieldType::kINT32, 4}}));  // as ONNX's parser
  CHECK(std::string(parsed.core->getPluginName()) == "SimilarityTopK");
  CHECK(std::string(parsed.core->getPluginNamespace()) == "crosscam");
}

void an_engine_remembers_what_it_was_built_for() {
  const int32_t k = 10, two = 2, zero = 0;
  const Plugin built(search(k));
  const std::string fields = "version=1 k=10 lists=16 tile_rows=128 most_parts=128 ";
  CHECK(told(stored(built)) == fields);
  const Plugin again(create(0, stored(built), TensorRTPhase::kRUNTIME));
  CHECK(told(stored(again)) == fields);
  const Plugin copy(built.whole->clone());
  CHECK(copy.whole != built.whole && told(stored(copy)) == fields);
  CHECK(stored(copy)[0].data != stored(built)[0].data);
  CHECK(create(0, {integer("k", k)}, TensorRTPhase::kRUNTIME) == nullptr);
  std::vector<PluginField> changed = stored(built);
  changed[0] = integer("version", two);
  CHECK(create(0, changed, TensorRTPhase::kRUNTIME) == nullptr);
  CHECK(contains(logger.last, "fields of version 2. Expected: 1"));
  changed = stored(built);
  changed[3] = integer("tile_rows", zero);
  CHECK(create(0, changed, TensorRTPhase::kRUNTIME) == nullptr);
  CHECK(contains(logger.last, "for which the engine was built"));

  const Plugin codes(create(1, {}));
  CHECK(told(stored(codes)) == "version=1 ");
  const Plugin codes_again(create(1, stored(codes), TensorRTPhase::kRUNTIME));
  CHECK(std::string(codes_again.core->getPluginName()) == "NormaliseQuantise");
  CHECK(create(1, {integer("version", two)}, TensorRTPhase::kRUNTIME) == nullptr);
  CHECK(create(1, {}, TensorRTPhase::kRUNTIME) == nullptr);
}

void shapes_follow_the_queries() {
  const Plugin plugin(search(10));
  FakeBuilder builder;
  std::vector<nvinfer1::DimsExprs> in{builder.shape({"Q", "D"}), builder.shape({"G", "D"}),
                                      builder.shape({"G"}), builder.shape({"Q"}),
                                      builder.shape({"G"})};
  for (const int32_t inputs : {2, 5}) {
    nvinfer1::DimsExprs out[2]{};
    CHECK(plugin.build->getOutputShapes(in.data(), inputs, nullptr, 0, out, 2, builder) == 0);
    for (const auto& dims : out) {
      CHECK(dims.nbDims == 2 && text_of(dims.d[0]) == "Q" && text_of(dims.d[1]) == "10");
    }
  }
  nvinfer1::DimsExprs out[2]{};
  CHECK(plugin.build->getOutputShapes(in.data(), 3, nullptr, 0, out, 2, builder) != 0);
  in[4] = builder.shape({"G", "1"});
  CHECK(plugin.build->getOutputShapes(in.data(), 5, nullptr, 0, out, 2, builder) != 0);
  CHECK(contains(logger.last, "input 4 with 2 dimensions. Expected: 1"));

  const Plugin codes(create(1, {}));
  const nvinfer1::DimsExprs rows = builder.shape({"N", "D"});
  CHECK(codes.build->getOutputShapes(&rows, 1, nullptr, 0, out, 2, builder) == 0);
  CHECK(out[0].nbDims == 2 && text_of(out[0].d[0]) == "N" && text_of(out[0].d[1]) == "D");
  CHECK(out[1].nbDims == 1 && text_of(out[1].d[0]) == "N");
  CHECK(codes.build->getOutputShapes(in.data() + 2, 1, nullptr, 0, out, 2, builder) != 0);
}

/// Every place with every type and format, after each type that the first input may have.
void all_combinations_of_types_and_formats() {
  const Plugin plugin(search(10)), codes(create(1, {}));
  const auto check = [](const Plugin& of, int32_t inputs, const std::vector<DataType>& wanted) {
    int supported = 0;
    for (int32_t place = 0; place < inputs + 2; ++place) {
      for (int32_t type = 0; type < nvinfer1::EnumMax<DataType>(); ++type) {
        for (int32_t format = 0; format < nvinfer1::EnumMax<nvinfer1::TensorFormat>(); ++format) {
          std::vector<nvinfer1::PluginTensorDesc> tensors;
          for (const DataType each : wanted) tensors.push_back(tensor(each, {64, 64}));
          auto& asked = tensors[static_cast<size_t>(place)];
          asked.type = static_cast<DataType>(type);
          asked.format = static_cast<nvinfer1::TensorFormat>(format);
          // At the first place the kernels that are there decide; then the first place does.
          const bool known = asked.type == DataType::kFLOAT || asked.type == DataType::kHALF;
          const bool right =
              (place == 0 ? known : asked.type == wanted[static_cast<size_t>(place)]) &&
              asked.format == nvinfer1::TensorFormat::kLINEAR;
          const auto described = bounded(tensors);
          CHECK(of.build->supportsFormatCombination(place, described.data(), inputs, 2) == right);
          supported += right;
        }
      }
    }
    CHECK(supported == inputs + 3);  // one of each, two of the first
  };
  for (const DataType rows : {DataType::kFLOAT, DataType::kHALF}) {
    check(plugin, 2, {rows, rows, DataType::kFLOAT, DataType::kINT64});
    check(plugin, 5,
          {rows, rows, DataType::kBOOL, DataType::kINT32, DataType::kINT32, DataType::kFLOAT,
           DataType::kINT64});
    check(codes, 1, {rows, DataType::kINT8, DataType::kFLOAT});
    DataType types[2];
    const DataType given[] = {rows, rows, DataType::kBOOL, DataType::kINT32, DataType::kINT32};
    for (const int32_t inputs : {2, 5}) {
      CHECK(plugin.build->getOutputDataTypes(types, 2, given, inputs) == 0);
      CHECK(types[0] == DataType::kFLOAT && types[1] == DataType::kINT64);
    }
    CHECK(codes.build->getOutputDataTypes(types, 2, given, 1) == 0);
    CHECK(types[0] == DataType::kINT8 && types[1] == DataType::kFLOAT);
    CHECK(codes.build->getOutputDataTypes(types, 2, given, 2) != 0);
  }
  CHECK(plugin.build->getNbOutputs() == 2 && codes.build->getNbOutputs() == 2);
}

std::vector<nvinfer1::PluginTensorDesc> problem(bool masked, int64_t queries, int64_t rows,
                                                int64_t dim) {
  std::vector<nvinfer1::PluginTensorDesc> in{tensor(DataType::kFLOAT, {queries, dim}),
                                             tensor(DataType::kFLOAT, {rows, dim})};
  if (masked) {
    in.push_back(tensor(DataType::kBOOL, {rows}));
    in.push_back(tensor(DataType::kINT32, {queries}));
    in.push_back(tensor(DataType::kINT32, {rows}));
  }
  return in;
}

void building_checks_sizes_and_reserves_the_workspace() {
  const Plugin plugin(search(10)), codes(create(1, {}));
  const auto configure = [&](const std::vector<nvinfer1::PluginTensorDesc>& in) {
    const auto described = bounded(in);
    return plugin.build->configurePlugin(described.data(), static_cast<int32_t>(in.size()), nullptr,
                                         2);
  };
  CHECK(configure(problem(false, 8, 5000, 64)) == 0);
  CHECK(configure(problem(true, 8, 5000, 64)) == 0);
  CHECK(configure(problem(false, 8, 5000, 40)) != 0);
  CHECK(contains(logger.last, "a multiple of 32"));
  auto crooked = problem(false, 8, 5000, 64);
  crooked[1].dims.d[1] = 128;
  CHECK(configure(crooked) != 0 && contains(logger.last, "a gallery of rows of length 128"));
  const auto described = bounded(problem(false, 8, 16385, 64));
  const crosscam::trt::Search same(std::make_shared<const crosscam::trt::KernelFolder>(FIXTURE),
                                   10);
  CHECK(plugin.build->getWorkspaceSize(described.data(), 2, nullptr, 2) ==
        same.workspace_bytes({8, 16385, 64}));
  CHECK(same.workspace_bytes({8, 16385, 64}) >= size_t{8 * 128 * 16 * 8});

  const auto rows = bounded({tensor(DataType::kFLOAT, {8, 512})});
  CHECK(codes.build->configurePlugin(rows.data(), 1, nullptr, 2) == 0);
  CHECK(codes.build->getWorkspaceSize(rows.data(), 1, nullptr, 2) == 0);
  const auto odd = bounded({tensor(DataType::kFLOAT, {8, 100})});
  CHECK(codes.build->configurePlugin(odd.data(), 1, nullptr, 2) != 0);
}

void executing_launches_what_the_core_launches() {
  const Plugin built(search(10));
  for (const bool masked : {false, true}) {
    const auto in = problem(masked, 20, 5000, 384);
    const auto inputs = static_cast<int32_t>(in.size());
    const void* const given[] = {at(0x1000), at(0x2000), at(0x3000), at(0x4000), at(0x5000)};
    void* const out[] = {at(0x6000), at(0x7000)};
    const std::vector<int> parameters{masked ? 21 : 18, 7};
    const auto start = [&] {
      reset();
      fake_cuda().capability = 87;
      fake_cuda().parameters_in_turn = parameters;
    };
    start();
    const crosscam::trt::Search core(std::make_shared<const crosscam::trt::KernelFolder>(FIXTURE),
                                     10);
    crosscam::trt::SearchTensors tensors{};
    tensors.queries = given[0];
    tensors.gallery = given[1];
    if (masked) {
      tensors.valid = given[2];
      tensors.query_camera = given[3];
      tensors.gallery_camera = given[4];
    }
    tensors.similarity = static_cast<float*>(out[0]);
    tensors.index = static_cast<int64_t*>(out[1]);
    core.launch(tensors, {20, 5000, 384}, crosscam::trt::Element::kFloat32, at(0x10000), at(0x77));
    const FakeCuda wanted = fake_cuda();

    start();
    const Plugin running(built.runtime->attachToContext(nullptr));
    CHECK(running.whole != built.whole);
    CHECK(running.runtime->onShapeChange(in.data(), inputs, nullptr, 2) == 0);
    CHECK(fake_cuda().loaded.size() == 2 && fake_cuda().launches.empty());
    auto* const stream = static_cast<cudaStream_t>(at(0x77));
    CHECK(running.runtime->enqueue(in.data(), nullptr, given, out, at(0x10000), stream) == 0);
    CHECK(fake_cuda().loaded.size() == 2);  // nothing while a stream may be captured
    CHECK(fake_cuda().launches.size() == 2 && wanted.launches.size() == 2);
    for (size_t i = 0; i < 2; ++i) {
      const FakeLaunch &found = fake_cuda().launches[i], &other = wanted.launches[i];
      CHECK(found.function == other.function && found.grid_and_block == other.grid_and_block);
      CHECK(found.shared_bytes == other.shared_bytes && found.stream == at(0x77));
      CHECK(found.arguments == other.arguments);
    }
    CHECK(fake_cuda().copies.size() == 2 && fake_cuda().copies[1].to == at(0x7000));
    fake_cuda().fail["cuLaunchKernel"] = 700;
    CHECK(running.runtime->enqueue(in.data(), nullptr, given, out, at(0x10000), stream) != 0);
    CHECK(contains(logger.last, "launching kernel 'similarity_stream_plugin_"));
    auto other = in;
    other[1].dims.d[1] = 64;
    CHECK(running.runtime->onShapeChange(other.data(), inputs, nullptr, 2) != 0);
    if (masked) {
      other = in;
      other[3].dims.d[0] = 19;
      CHECK(running.runtime->onShapeChange(other.data(), inputs, nullptr, 2) != 0);
      CHECK(contains(logger.last, "masks of other lengths"));
    }
  }
}

void executing_quantises() {
  reset();
  fake_cuda().capability = 87;
  fake_cuda().parameters = 7;
  const Plugin built(create(1, {}));
  const Plugin running(built.runtime->attachToContext(nullptr));
  const auto in = tensor(DataType::kHALF, {5, 384});
  const void* const given[] = {at(0x1000)};
  void* const out[] = {at(0x2000), at(0x3000)};
  CHECK(running.runtime->onShapeChange(&in, 1, nullptr, 2) == 0);
  CHECK(running.runtime->enqueue(&in, nullptr, given, out, nullptr,
                                 static_cast<cudaStream_t>(at(0x77))) == 0);
  CHECK(fake_cuda().loaded.size() == 1 && fake_cuda().launches.size() == 1);
  CHECK(fake_cuda().loaded[0] == "code of normalise_quantise_fp16_512 for sm_87\n");
  CHECK(fake_cuda().launches[0].arguments ==
        (std::vector<uint64_t>{0x1000, 384, 384, 0x2000, 0x3000, 0, 0}));
  fake_cuda().current = nullptr;
  CHECK(running.runtime->onShapeChange(&in, 1, nullptr, 2) != 0);
  CHECK(contains(logger.last, "no CUDA context"));
}

void a_library_registers_itself_where_tensorrt_is_loaded() {
  void* const nvinfer = load(NVINFER_LIBRARY);
  load(REGISTERED_LIBRARY);
  auto& found = symbol<std::vector<Registered>&()>(nvinfer, "fake_nvinfer")();
  CHECK(found.size() == 2 && found[0].space == "crosscam" && found[1].space == "crosscam");
  const auto& first = static_cast<nvinfer1::IPluginCreatorV3One&>(*found[0].creator);
  CHECK(std::string(first.getPluginName()) == "SimilarityTopK");
}

}  // namespace

int main() {
  static FakeFinder finder(logger);
  symbol<void(nvinfer1::ILoggerFinder*)>(load(PLUGIN_LIBRARY), "setLoggerFinder")(&finder);
  without_kernels_there_is_no_plugin();
  creators_tell_what_the_parser_asks();
  fields_are_checked();
  an_engine_remembers_what_it_was_built_for();
  shapes_follow_the_queries();
  all_combinations_of_types_and_formats();
  building_checks_sizes_and_reserves_the_workspace();
  executing_launches_what_the_core_launches();
  executing_quantises();
  a_library_registers_itself_where_tensorrt_is_loaded();
  return 0;
}
