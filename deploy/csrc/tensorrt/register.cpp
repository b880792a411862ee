// Registers the plugins when the library is loaded, for programs that only load it, such as
// `trtexec --staticPlugins`. A library that is loaded through a registry must not do so as well, or
// the registry finds its plugins taken: hence two libraries.

#include <dlfcn.h>

#include <string>

#include "tensorrt/common.h"

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);

namespace {

/// TensorRT's function, from where the program has loaded it. The library is not linked: that would
/// load a second TensorRT beside one of another name.
nvinfer1::IPluginRegistry* registry() {
  const char* const symbol = "getPluginRegistry";
  void* found = dlsym(RTLD_DEFAULT, symbol);
  const std::string suffix = "." + std::to_string(NV_TENSORRT_MAJOR);
  for (const char* const name : {"libnvinfer.so", "libnvinfer_lean.so", "libnvinfer_dispatch.so"}) {
    if (found != nullptr) break;
    void* const library = dlopen((name + suffix).c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (library != nullptr) found = dlsym(library, symbol);
  }
  return found == nullptr ? nullptr : reinterpret_cast<nvinfer1::IPluginRegistry* (*)()>(found)();
}

[[maybe_unused]] const bool registered = [] {
  nvinfer1::IPluginRegistry* const to = registry();
  if (to == nullptr) {
    crosscam::trt::log_error(
        "crosscam's plugins are not registered: TensorRT " + std::to_string(NV_TENSORRT_MAJOR) +
        " is not loaded. What to do: load it first, or give libcrosscam_trt.so to loadLibrary.");
    return false;
  }
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* const creators = getCreators(count);
  bool all = true;
  for (int32_t i = 0; i < count; ++i) {
    all = to->registerCreator(*creators[i], crosscam::trt::kNamespace) && all;
  }
  if (!all) crosscam::trt::log_error("TensorRT did not take all of crosscam's plugins");
  return all;
}();

}  // namespace
