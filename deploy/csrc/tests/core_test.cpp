// What is read before anything is launched: JSON, hashes, the manifest, files, serialised fields.
#include <cmath>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "cuda_parts.h"
#include "errors.h"
#include "fields.h"
#include "fixture.h"
#include "json.h"
#include "kernel_folder.h"
#include "manifest.h"
#include "sha256.h"

namespace {

using namespace crosscam::trt;

const std::string kMerge = "similarity_merge_k16";

void json_is_read() {
  const Json json =
      parse_json(R"( {"a": [1, -2.5e1, true, false, null], "b": "\"\\\/\n\u00e9\u20AC"} )");
  const auto& object = std::get<JsonObject>(json.value);
  CHECK(object.size() == 2 && object[0].first == "a" && object[1].first == "b");
  const auto& list = std::get<JsonList>(object[0].second.value);
  CHECK(list.size() == 5 && std::get<int64_t>(list[0].value) == 1);
  CHECK(std::get<double>(list[1].value) == -25.0 && std::get<bool>(list[2].value));
  CHECK(!std::get<bool>(list[3].value) && list[4].value.index() == 0);
  CHECK(std::get<std::string>(object[1].second.value) == "\"\\/\n\xC3\xA9\xE2\x82\xAC");
  CHECK(std::get<int64_t>(parse_json("-9223372036854775808").value) == INT64_MIN);
  CHECK(std::get<double>(parse_json("9223372036854775808").value) == std::ldexp(1.0, 63));
  CHECK(std::get<JsonObject>(parse_json("{}").value).empty());
  CHECK(std::get<JsonList>(parse_json("[ ]").value).empty());
}

void what_is_no_json_is_refused() {
  std::string deep(20, '[');
  for (const std::string& text : std::vector<std::string>{"",
                                                          " ",
                                                          "{",
                                                          "[1,]",
                                                          "[1 2]",
                                                          "{\"a\" 1}",
                                                          "{\"a\": 1,}",
                                                          "{a: 1}",
                                                          "nul",
                                                          "01",
                                                          "-",
                                                          "1.",
                                                          ".5",
                                                          "1e",
                                                          "+1",
                                                          "1e999",
                                                          "\"",
                                                          "\"\\x\"",
                                                          "\"\\u12\"",
                                                          "\"\\ud800\"",
                                                          "\"\n\"",
                                                          "1 2",
                                                          "{\"a\": 1, \"a\": 2}",
                                                          deep + std::string(20, ']'),
                                                          "\"\\",
                                                          "\"\\u"}) {
    CHECK(contains(thrown<InputError>([&] { parse_json(text); }), "no JSON at byte"));
  }
}

void hashes_are_those_of_the_standard() {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256(std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

void the_manifest_is_read() {
  const auto kernels = read_manifest(read_text(FIXTURE "/manifest.json"));
  CHECK(kernels.size() == 8);
  const ManifestKernel& merge = kernels[3];
  CHECK(merge.name == kMerge && merge.size("K") == 16 && merge.size("BLOCK") == 2048);
  CHECK(merge.parameters.size() == 5 && merge.parameters[1].name == "count");
  CHECK(merge.parameters[0].type == crosscam::cuda::ParameterType::kPointer);
  CHECK(merge.parameters[1].type == crosscam::cuda::ParameterType::kInt32);
  CHECK(merge.parameters[0].divisible_by == 16 && merge.parameters[1].divisible_by == 1);
  CHECK(merge.binaries.size() == 1);
  const ManifestBinary& binary = merge.binaries[0];
  CHECK(binary.capability == 87 && !binary.exact && binary.entry == "merge_kernel");
  CHECK(binary.block_threads == 128 && binary.hidden_parameters == 2);
  CHECK(binary.cubin.path == kMerge + ".sm_87.cubin");
  CHECK(contains(thrown<InputError>([&] { merge.size("BN"); }), "without a size BN"));
}

void what_is_no_manifest_is_refused() {
  const std::string text = read_text(FIXTURE "/manifest.json");
  const auto refusal = [&](const std::string& old, const std::string& by) {
    const std::string changed = replaced(text, old, by, kMerge);
    return thrown<InputError>([&] { read_manifest(changed); });
  };
  CHECK(contains(refusal("\"num_warps\": 4", "\"num_warps\": \"4\""), "kernels.3.num_warps"));
  CHECK(contains(refusal("\"num_warps\": 4", "\"num_warps\": 8"), "32 threads a warp"));
  CHECK(contains(refusal("\"num_warps\": 4", "\"num_warps\": 4, \"more\": 1"), "nothing of that"));
  CHECK(contains(refusal("\"plugin\"", "\"plugins\""), "kernels.3.plugin"));
  CHECK(contains(refusal("\"registers\": ", "\"registers\": -"), "registers. Expected: 0 to"));
  CHECK(contains(refusal("\"divisible_by\": 16", "\"divisible_by\": 8"), "Expected: 1 or 16"));
  CHECK(contains(refusal("\"type\": \"i32\"", "\"type\": \"fp16\""), "that can be passed"));
  CHECK(contains(refusal("\"global_scratch_bytes\": 0", "\"global_scratch_bytes\": 8"), "scratch"));
  CHECK(
      contains(refusal("\"profile_scratch_bytes\": 0", "\"profile_scratch_bytes\": 8"), "scratch"));
  CHECK(contains(refusal("\"target\": \"sm_87", "\"target\": \"sm_80"), "sm_87 or sm_87a"));
  CHECK(contains(refusal("\"architecture\": \"sm_87\"", "\"architecture\": \"87\""), "sm_ and"));
  CHECK(contains(refusal("\"sha256\": \"", "\"sha256\": \"x"), "64 hexadecimal"));
  for (const char* const path : {"../", "/etc/", "a\\\\"}) {
    CHECK(contains(refusal("\"path\": \"", std::string("\"path\": \"") + path), "beside"));
  }
  const std::string newer = replaced(text, "\"version\": 1", "\"version\": 2");
  CHECK(contains(thrown<InputError>([&] { read_manifest(newer); }), "version"));
  const std::string twice =
      replaced(text, "\"normalise_quantise_fp32_512\"", "\"normalise_quantise_fp32_2048\"");
  CHECK(contains(thrown<InputError>([&] { read_manifest(twice); }), "a name once"));
  // Not written for plugins: as if it were not there.
  CHECK(read_manifest(replaced(text, "\"plugin\": true", "\"plugin\": false", kMerge)).size() == 7);
}

/// Whatever is broken in a manifest, the answer is a manifest or an InputError.
void broken_manifests_break_nothing() {
  const std::string text = read_text(FIXTURE "/manifest.json");
  uint32_t state = 5;
  const auto next = [&](size_t below) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
  };
  int refused = 0;
  for (int turn = 0; turn < 300; ++turn) {
    std::string changed = text;
    for (size_t change = 0; change <= next(3); ++change) {
      const size_t at = next(changed.size());
      switch (next(3)) {
        case 0:
          changed[at] = "{}[]\",:0-\\"[next(10)];
          break;
        case 1:
          changed.erase(at, 1 + next(20));
          break;
        default:
          changed.resize(at + 1);
      }
    }
    try {
      read_manifest(changed);
    } catch (const InputError&) {
      ++refused;
    }
  }
  CHECK(refused > 200);
}

void files_are_those_that_the_device_runs() {
  const KernelFolder folder(FIXTURE);
  const auto here = folder.load(kMerge, 87);
  const crosscam::cuda::Kernel& kernel = here->kernel();
  CHECK(std::string(kernel.name) == kMerge && kernel.parameters.size() == 5);
  const crosscam::cuda::Choice choice = crosscam::cuda::choose_image(kernel, 87);
  CHECK(!choice.from_ptx && std::string(choice.image->entry) == "merge_kernel");
  CHECK(std::string(reinterpret_cast<const char*>(choice.image->binary)) ==
        "code of " + kMerge + " for sm_87\n");
  const auto later = folder.load(kMerge, 90);
  const crosscam::cuda::Choice compiled = crosscam::cuda::choose_image(later->kernel(), 90);
  CHECK(compiled.from_ptx && std::string(compiled.image->ptx).starts_with(".version 8.0"));
  CHECK(contains(thrown<crosscam::cuda::CudaError>([&] { folder.load(kMerge, 80); }), "sm_80"));
  CHECK(contains(thrown<InputError>([&] { folder.load("absent", 87); }), "--kernel absent"));
}

void nothing_is_loaded_that_is_not_the_manifests() {
  const CopiedKernels copy;
  copy.change(kMerge + ".sm_87.cubin", "code", "ruin");
  const KernelFolder folder(copy.path());
  CHECK(contains(thrown<InputError>([&] { folder.load(kMerge, 87); }), "damaged or was replaced"));
  CHECK(folder.load(kMerge, 90) != nullptr);  // the PTX is as it was
  write_text(copy.path() / (kMerge + ".sm_87.cubin"), "code");
  CHECK(contains(thrown<InputError>([&] { folder.load(kMerge, 87); }), "damaged"));
  write_text(copy.path() / (kMerge + ".sm_87.cubin"), std::string(1000, 'x'));
  CHECK(contains(thrown<InputError>([&] { folder.load(kMerge, 87); }), "too long"));
  std::filesystem::remove(copy.path() / (kMerge + ".sm_87.cubin"));
  CHECK(contains(thrown<InputError>([&] { folder.load(kMerge, 87); }), "cannot be read"));
  std::filesystem::remove(copy.path() / "manifest.json");
  CHECK(contains(thrown<InputError>([&] { KernelFolder{copy.path()}; }), "CROSSCAM_KERNELS"));
}

void fields_survive_an_engine() {
  const SearchFields fields{10, 16, 128, 64};
  const auto values = values_of(fields);
  std::vector<Field> stored;
  for (size_t i = 0; i < values.size(); ++i) stored.push_back({kSearchFieldNames[i], values[i]});
  CHECK(read_search_fields(stored) == fields);
  CHECK(stored[0].name == "version" && stored[0].value == 1);
  const auto refusal = [&](auto change) {
    std::vector<Field> changed = stored;
    change(changed);
    return thrown<InputError>([&] { read_search_fields(changed); });
  };
  CHECK(contains(refusal([](auto& f) { f[0].value = 2; }), "fields of version 2. Expected: 1"));
  CHECK(contains(refusal([](auto& f) { f.pop_back(); }), "no field 'most_parts'"));
  CHECK(contains(refusal([](auto& f) { f.push_back({"more", 1}); }), "a field 'more'"));
  CHECK(contains(refusal([](auto& f) { f.push_back({"k", 1}); }), "two fields 'k'"));
  CHECK(read_k(std::vector<Field>{{"k", 7}}) == 7);
  CHECK(contains(thrown<InputError>([] { read_k({}); }), "no field 'k'"));
  check_version_only(std::vector<Field>{{"version", 1}});
  CHECK(contains(thrown<InputError>([] { check_version_only(std::vector<Field>{{"version", 3}}); }),
                 "version 3"));
  CHECK(contains(thrown<InputError>([] { check_version_only({}); }), "no field 'version'"));
}

}  // namespace

int main() {
  json_is_read();
  what_is_no_json_is_refused();
  hashes_are_those_of_the_standard();
  the_manifest_is_read();
  what_is_no_manifest_is_refused();
  broken_manifests_break_nothing();
  files_are_those_that_the_device_runs();
  nothing_is_loaded_that_is_not_the_manifests();
  fields_survive_an_engine();
  return 0;
}
