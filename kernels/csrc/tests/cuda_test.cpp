// Driver, kernels and modules of the CUDA backend, on a driver that only records (fake_cuda.h) and
// with the kernels of cuda_fixture/. What a real device computes is not tested here.
#include <cstring>
#include <functional>
#include <string>

#include "cuda/arguments.h"
#include "cuda/driver.h"
#include "cuda/kernels.h"
#include "cuda/module.h"
#include "cuda_parts.h"

namespace {

using namespace crosscam::cuda;

const void* const kRows = reinterpret_cast<void*>(0x1000);

const Kernel& narrow() { return find_kernel(embedded_kernels(), "normalise_quantise_fp32_512"); }
const Kernel& wide() { return find_kernel(embedded_kernels(), "normalise_quantise_fp16_2048"); }

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

void the_context_of_the_caller_is_taken_and_left() {
  reset();
  const Driver driver(kFake);
  {
    const Device device = Device::current(driver);
    CHECK(device.capability() == 90 && device.context() == fake_cuda().current);
    CHECK(fake_cuda().retained == 0);
  }
  CHECK(fake_cuda().retained == 0);
  fake_cuda().current = nullptr;
  CHECK(contains(thrown<CudaError>([&] { Device::current(driver); }), "has no CUDA context"));
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
  the_context_of_the_caller_is_taken_and_left();
  a_driver_without_a_device_counts_none();
  errors_of_the_driver_have_names();
  the_table_is_that_of_the_manifest();
  images_are_chosen_by_the_rules_of_cuda();
  arguments_are_packed_in_order();
  arguments_that_do_not_fit_are_refused();
  a_module_is_loaded_for_the_device();
  a_module_that_does_not_load_says_why();
  arguments_of_another_kernel_are_refused();
  return 0;
}
