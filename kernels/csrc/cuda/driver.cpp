#include "cuda/driver.h"

#include <dlfcn.h>

#include <exception>

namespace crosscam::cuda {
namespace {

constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE

}  // namespace

Driver::Driver(const char* library) : library_(dlopen(library, RTLD_NOW | RTLD_LOCAL)) {
  if (library_ == nullptr) {
    const char* const reason = dlerror();
    throw CudaError(std::string("the CUDA driver cannot be loaded (") +
                    (reason == nullptr ? library : reason) + "). Expected: " + library +
                    ", which comes with NVIDIA's driver. What to do: install the driver, or in a "
                    "container start it with the NVIDIA runtime; without a GPU use the CPU "
                    "operators.");
  }
  try {
#define CROSSCAM_LOAD(name, symbol, parameters)                                          \
  name = reinterpret_cast<decltype(name)>(dlsym(library_, symbol));                      \
  if (name == nullptr) {                                                                 \
    throw CudaError(std::string(library) +                                               \
                    " has no function " symbol                                           \
                    ". What to do: update NVIDIA's driver to one of CUDA 12 or newer."); \
  }
    CROSSCAM_CUDA_FUNCTIONS(CROSSCAM_LOAD)
#undef CROSSCAM_LOAD
    const int result = init(0);
    has_device_ = result != kNoDevice;
    if (has_device_) check(result, "starting the CUDA driver");
  } catch (...) {
    dlclose(library_);
    throw;
  }
}

Driver::~Driver() { dlclose(library_); }

const Driver& Driver::system() {
  static const Driver* const driver = new Driver();  // never unloaded: its threads may still run
  return *driver;
}

void Driver::check(int result, const std::string& action) const {
  if (result == 0) return;
  const char* name = nullptr;
  const char* text = nullptr;
  if (error_name(result, &name) != 0 || name == nullptr) name = "unknown error";
  if (error_string(result, &text) != 0 || text == nullptr) text = "no description";
  throw CudaError(action + " failed: " + name + " (" + std::to_string(result) + "), " + text + ".",
                  result);
}

int Driver::count() const {
  int devices = 0;
  if (has_device_) check(device_count(&devices), "counting CUDA devices");
  return devices;
}

int Driver::version() const {
  int number = 0;
  check(driver_version(&number), "asking for the version of the CUDA driver");
  return number;
}

std::string cuda_unavailable_reason() {
  try {
    if (Driver::system().count() > 0) return "";
    return "the CUDA driver finds no device. What to do: check that nvidia-smi lists one and that "
           "CUDA_VISIBLE_DEVICES does not hide it.";
  } catch (const CudaError& error) {
    return error.what();
  }
}

bool cuda_available() noexcept {
  try {
    return cuda_unavailable_reason().empty();
  } catch (const std::exception&) {
    return false;  // out of memory while writing the reason
  }
}

}  // namespace crosscam::cuda
