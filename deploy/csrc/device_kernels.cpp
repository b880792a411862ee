#include "device_kernels.h"

#include "errors.h"

namespace crosscam::trt {

cuda::Arguments NamedArguments::pack(const cuda::Kernel& kernel) const {
  cuda::Arguments arguments(kernel);
  for (const cuda::Parameter& parameter : kernel.parameters) {
    if (const auto pointer = pointers.find(parameter.name); pointer != pointers.end()) {
      arguments.pointer(pointer->second);
    } else if (const auto integer = integers.find(parameter.name); integer != integers.end()) {
      arguments.integer(integer->second);
    } else {
      throw InputError(std::string("the kernel ") + kernel.name + " takes " + parameter.name,
                       "no parameter of that name",
                       "compile with the crosscam that this library is of");
    }
  }
  const size_t given = pointers.size() + integers.size();
  if (kernel.parameters.size() != given) {
    throw InputError(std::string("the kernel ") + kernel.name + " takes " +
                         std::to_string(kernel.parameters.size()) + " arguments",
                     std::to_string(given), "compile with the crosscam that this library is of");
  }
  return arguments;
}

const cuda::CudaModule& DeviceKernels::get(const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  cuda::ContextHandle current = nullptr;
  driver().check(driver().context_current(&current), "asking for the current context");
  const auto known = contexts_.find(current);
  Context& context = known != contexts_.end()
                         ? known->second
                         : contexts_.try_emplace(current, driver()).first->second;
  Loaded& loaded = context.kernels[name];
  if (!loaded.module) {
    loaded.kernel = folder_->load(name, context.device.capability());
    loaded.module = std::make_unique<cuda::CudaModule>(context.device, loaded.kernel->kernel());
  }
  return *loaded.module;
}

}  // namespace crosscam::trt
