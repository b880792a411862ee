// A library of TensorRT's name with a registry that keeps what it is given.
#include "fake_nvinfer.h"

namespace {

class FakeRegistry final : public nvinfer1::IPluginRegistry {
 public:
  using Creator = nvinfer1::IPluginCreatorInterface;

  bool registerCreator(Creator& creator, const char* const space) noexcept override {
    fake_nvinfer().push_back({&creator, space});
    return true;
  }

  void setErrorRecorder(nvinfer1::IErrorRecorder* const) noexcept override {}
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return false; }
  void setParentSearchEnabled(bool const) override {}
  PluginLibraryHandle loadLibrary(const char*) noexcept override { return nullptr; }
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
  Creator* const* getAllCreators(int32_t* const) const noexcept override { return nullptr; }
  Creator* getCreator(const char* const, const char* const, const char* const) noexcept override {
    return nullptr;
  }
  bool deregisterCreator(const Creator&) noexcept override { return false; }
  nvinfer1::IPluginResource* acquirePluginResource(const char*,
                                                   nvinfer1::IPluginResource*) noexcept override {
    return nullptr;
  }
  int32_t releasePluginResource(const char*) noexcept override { return 0; }
#if NV_TENSORRT_MAJOR >= 11
  Creator* const* getAllCreatorsRecursive(int32_t* const) noexcept override { return nullptr; }
#else
  // What TensorRT 10 keeps of older plugins.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#if NV_TENSORRT_MINOR >= 10
  Creator* const* getAllCreatorsRecursive(int32_t* const) noexcept override { return nullptr; }
#endif
  bool registerCreator(nvinfer1::IPluginCreator&, const char* const) noexcept override {
    return false;
  }
  nvinfer1::IPluginCreator* const* getPluginCreatorList(int32_t* const) const noexcept override {
    return nullptr;
  }
  nvinfer1::IPluginCreator* getPluginCreator(const char* const, const char* const,
                                             const char* const) noexcept override {
    return nullptr;
  }
  bool deregisterCreator(const nvinfer1::IPluginCreator&) noexcept override { return false; }
#endif
};

}  // namespace

std::vector<Registered>& fake_nvinfer() {
  static std::vector<Registered> kept;
  return kept;
}

extern "C" nvinfer1::IPluginRegistry* getPluginRegistry() noexcept {
  static FakeRegistry registry;
  return &registry;
}
