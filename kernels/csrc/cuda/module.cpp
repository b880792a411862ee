#include "cuda/module.h"

#include <array>
#include <limits>
#include <stdexcept>

namespace crosscam::cuda {
namespace {

constexpr int kSharedBytesWithoutAsking = 48 * 1024;

}  // namespace

Device::Device(int ordinal, const Driver& driver) : driver_(driver) {
  const int count = driver_.count();
  if (ordinal < 0 || ordinal >= count) {
    throw CudaError("there is no CUDA device " + std::to_string(ordinal) +
                    ". Expected: one of the " + std::to_string(count) +
                    " devices that the driver lists.");
  }
  driver_.check(driver_.device_get(&handle_, ordinal), "opening a CUDA device");
  read_attributes();
  driver_.check(driver_.context_retain(&context_, handle_), "retaining the primary context");
  retained_ = true;
}

Device::Device(const Driver& driver, ContextHandle context, DeviceHandle handle)
    : driver_(driver), handle_(handle), context_(context) {
  read_attributes();
}

Device Device::current(const Driver& driver) {
  ContextHandle context = nullptr;
  driver.check(driver.context_current(&context), "asking for the current context");
  if (context == nullptr) {
    throw CudaError("this thread has no CUDA context. What to do: call cudaSetDevice first.");
  }
  DeviceHandle handle = 0;
  driver.check(driver.context_device(&handle), "asking for the device of the current context");
  return Device(driver, context, handle);
}

void Device::read_attributes() {
  const auto attribute = [&](int which) {
    int value = 0;
    driver_.check(driver_.device_attribute(&value, which, handle_),
                  "asking for a device attribute");
    return value;
  };
  capability_ = 10 * attribute(kComputeCapabilityMajor) + attribute(kComputeCapabilityMinor);
  multiprocessors_ = attribute(kMultiprocessors);
  max_shared_bytes_ = attribute(kMaxSharedBytesOptIn);
}

Device::~Device() {
  if (retained_) driver_.context_release(handle_);
}

std::string Device::name() const {
  std::array<char, 128> text{};
  driver_.check(driver_.device_name(text.data(), static_cast<int>(text.size()) - 1, handle_),
                "asking for the name of a device");
  return text.data();
}

CurrentContext::CurrentContext(const Device& device) : driver_(device.driver()) {
  driver_.check(driver_.context_push(device.context()), "making a context current");
}

CurrentContext::~CurrentContext() {
  ContextHandle popped = nullptr;
  driver_.context_pop(&popped);
}

CudaModule::CudaModule(const Device& device, const Kernel& kernel)
    : device_(device), kernel_(kernel) {
  const Choice choice = choose_image(kernel, device.capability());
  image_ = choice.image;
  from_ptx_ = choice.from_ptx;
  const int shared = static_cast<int>(image_->shared_bytes);
  if (shared > device.max_shared_bytes()) {
    throw CudaError(std::string("kernel '") + kernel.name + "' takes " + std::to_string(shared) +
                    " bytes of shared memory. Expected: at most the " +
                    std::to_string(device.max_shared_bytes()) + " of this device.");
  }
  const Driver& driver = device.driver();
  const CurrentContext current(device);
  std::array<char, 4096> log{};
  std::array<int, 2> options{kJitErrorLog, kJitErrorLogBytes};
  std::array<void*, 2> values{log.data(), reinterpret_cast<void*>(log.size() - 1)};
  const void* const data =
      from_ptx_ ? static_cast<const void*>(image_->ptx) : static_cast<const void*>(image_->binary);
  const int result = driver.module_load(&module_, data, static_cast<unsigned>(options.size()),
                                        options.data(), values.data());
  driver.check(result, std::string("loading kernel '") + kernel.name + "'" +
                           (log[0] == '\0' ? "" : std::string(" [") + log.data() + "]"));
  try {
    driver.check(driver.module_function(&function_, module_, image_->entry),
                 std::string("finding ") + image_->entry);
    if (shared > kSharedBytesWithoutAsking) {
      driver.check(driver.function_set(function_, kMaxDynamicSharedBytes, shared),
                   "asking for " + std::to_string(shared) + " bytes of shared memory");
    }
  } catch (...) {
    driver.module_unload(module_);
    throw;
  }
}

CudaModule::~CudaModule() {
  const Driver& driver = device_.driver();
  // Not CurrentContext, which throws: at the end of a process the driver may have shut down.
  if (driver.context_push(device_.context()) != 0) return;
  driver.module_unload(module_);
  ContextHandle popped = nullptr;
  driver.context_pop(&popped);
}

void CudaModule::launch(int64_t blocks, Arguments& arguments, Stream stream) const {
  if (blocks < 0 || blocks > std::numeric_limits<int32_t>::max()) {
    throw std::invalid_argument(std::string("kernel '") + kernel_.name + "': " +
                                std::to_string(blocks) + " blocks. Expected: 0 to 2^31 - 1.");
  }
  if (&arguments.kernel() != &kernel_) {
    throw std::invalid_argument(std::string("arguments of kernel '") + arguments.kernel().name +
                                "' for kernel '" + kernel_.name + "'.");
  }
  void** const data = arguments.data(image_->hidden_parameters);
  if (blocks == 0) return;
  const Driver& driver = device_.driver();
  const CurrentContext current(device_);
  driver.check(driver.launch(function_, static_cast<unsigned>(blocks), 1, 1, image_->block_threads,
                             1, 1, image_->shared_bytes, stream, data, nullptr),
               std::string("launching kernel '") + kernel_.name + "'");
}

}  // namespace crosscam::cuda
