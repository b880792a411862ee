#pragma once

#include <NvInferRuntime.h>

#include <string>
#include <vector>

struct Registered {
  nvinfer1::IPluginCreatorInterface* creator;
  std::string space;
};

/// What the registry of the library was given.
extern "C" std::vector<Registered>& fake_nvinfer();
