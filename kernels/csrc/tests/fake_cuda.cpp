#include "fake_cuda.h"

#include <cstring>

#include "cuda/driver.h"

namespace {

constexpr int kInvalidValue = 1;

/// Records the call; its result is what the test asked for.
int answer(const char* symbol) {
  fake_cuda().calls.emplace_back(symbol);
  const auto found = fake_cuda().fail.find(symbol);
  return found == fake_cuda().fail.end() ? 0 : found->second;
}

struct Function {
  std::string name;
};

}  // namespace

extern "C" {

FakeCuda& fake_cuda() {
  static FakeCuda state;
  return state;
}

int cuInit(unsigned) { return answer("cuInit"); }

int cuDriverGetVersion(int* version) {
  *version = 13000;
  return answer("cuDriverGetVersion");
}

int cuDeviceGetCount(int* count) {
  *count = fake_cuda().devices;
  return answer("cuDeviceGetCount");
}

int cuDeviceGet(int* device, int ordinal) {
  *device = 40 + ordinal;
  return answer("cuDeviceGet");
}

int cuDeviceGetName(char* name, int size, int) {
  std::strncpy(name, "Fake device", static_cast<size_t>(size));
  return answer("cuDeviceGetName");
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
  if (device < 40) return kInvalidValue;
  if (attribute == 16) *value = fake_cuda().multiprocessors;
  if (attribute == 75) *value = fake_cuda().capability / 10;
  if (attribute == 76) *value = fake_cuda().capability % 10;
  if (attribute == 97) *value = fake_cuda().max_shared_bytes;
  return answer("cuDeviceGetAttribute");
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = reinterpret_cast<void*>(static_cast<intptr_t>(device));
  ++fake_cuda().retained;
  return answer("cuDevicePrimaryCtxRetain");
}

int cuDevicePrimaryCtxRelease_v2(int) {
  --fake_cuda().retained;
  return answer("cuDevicePrimaryCtxRelease_v2");
}

int cuCtxPushCurrent_v2(void* context) {
  if (context == nullptr) return kInvalidValue;
  const int result = answer("cuCtxPushCurrent_v2");
  if (result == 0) ++fake_cuda().contexts;
  return result;
}

int cuCtxPopCurrent_v2(void** context) {
  *context = nullptr;
  --fake_cuda().contexts;
  return answer("cuCtxPopCurrent_v2");
}

int cuCtxGetCurrent(void** context) {
  *context = fake_cuda().current;
  return answer("cuCtxGetCurrent");
}

int cuCtxGetDevice(int* device) {
  *device = 40;
  return fake_cuda().current == nullptr ? kInvalidValue : answer("cuCtxGetDevice");
}

int cuMemcpy2DAsync_v2(const crosscam::cuda::Copy2d* copy, void* stream) {
  if (copy->from_type != 2 || copy->to_type != 2) return kInvalidValue;
  fake_cuda().copies.push_back({copy->from, copy->to, copy->from_pitch, copy->to_pitch,
                                copy->width_bytes, copy->height, stream,
                                fake_cuda().launches.size()});
  return answer("cuMemcpy2DAsync_v2");
}

int cuModuleLoadDataEx(void** module, const void* image, unsigned count, int* options,
                       void** values) {
  const int result = answer("cuModuleLoadDataEx");
  if (fake_cuda().contexts < 1) return kInvalidValue;
  fake_cuda().loaded.emplace_back(static_cast<const char*>(image));
  for (unsigned i = 0; i < count; ++i) {
    if (options[i] == 5) std::strcpy(static_cast<char*>(values[i]), fake_cuda().jit_log.c_str());
  }
  if (result == 0) {
    ++fake_cuda().modules;
    *module = new int(fake_cuda().modules);
  }
  return result;
}

int cuModuleUnload(void* module) {
  if (fake_cuda().contexts < 1) return kInvalidValue;
  delete static_cast<int*>(module);
  --fake_cuda().modules;
  return answer("cuModuleUnload");
}

int cuModuleGetFunction(void** function, void*, const char* name) {
  static std::map<std::string, Function> functions;
  *function = &(functions[name] = Function{name});
  return answer("cuModuleGetFunction");
}

int cuFuncSetAttribute(void* function, int attribute, int value) {
  fake_cuda().attributes[static_cast<Function*>(function)->name + " " + std::to_string(attribute)] =
      value;
  return answer("cuFuncSetAttribute");
}

int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void* stream, void** arguments, void** extra) {
  if (extra != nullptr) return kInvalidValue;
  FakeLaunch launch{static_cast<Function*>(function)->name,
                    {gx, gy, gz, bx, by, bz},
                    shared,
                    stream,
                    {},
                    fake_cuda().contexts};
  const auto& in_turn = fake_cuda().parameters_in_turn;
  const size_t number = fake_cuda().launches.size();
  const int parameters = number < in_turn.size() ? in_turn[number] : fake_cuda().parameters;
  for (int i = 0; i < parameters; ++i) {
    uint64_t value;
    std::memcpy(&value, arguments[i], sizeof(value));
    launch.arguments.push_back(value);
  }
  fake_cuda().launches.push_back(launch);
  return answer("cuLaunchKernel");
}

int cuGetErrorName(int result, const char** name) {
  *name = result == 999 ? nullptr : "CUDA_ERROR_OF_THE_TEST";
  return 0;
}

int cuGetErrorString(int result, const char** text) {
  *text = "as the test wished";
  return result == 999 ? kInvalidValue : 0;
}
}
