// The entry points of a plugin library, which `IPluginRegistry::loadLibrary` and
// `trtexec --dynamicPlugins` call.

#include "tensorrt/quantise_plugin.h"
#include "tensorrt/search_plugin.h"

// Not TENSORRTAPI, which is empty outside of TensorRT's own build.
#define CROSSCAM_ENTRY extern "C" __attribute__((visibility("default")))

CROSSCAM_ENTRY nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static crosscam::trt::SearchCreator search;
  static crosscam::trt::QuantiseCreator quantise;
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&search, &quantise};
  count = 2;
  return creators;
}

CROSSCAM_ENTRY void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  crosscam::trt::set_logger_finder(finder);
}
