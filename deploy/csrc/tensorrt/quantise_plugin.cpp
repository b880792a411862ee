#include "tensorrt/quantise_plugin.h"

#include <utility>

#include "errors.h"

namespace crosscam::trt {
namespace {

using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

void check_places(int32_t inputs, int32_t outputs) {
  if (inputs == kQuantiseInputs && outputs == kQuantiseOutputs) return;
  throw InputError(std::to_string(inputs) + " inputs and " + std::to_string(outputs) + " outputs",
                   "1 and 2");
}

}  // namespace

nvinfer1::IPluginCapability* QuantisePlugin::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* QuantisePlugin::clone() noexcept {
  return guarded(kName, static_cast<IPluginV3*>(nullptr),
                 [&]() -> IPluginV3* { return new QuantisePlugin(quantise_); });
}

int32_t QuantisePlugin::configurePlugin(const DynamicPluginTensorDesc* in, int32_t inputs,
                                        const DynamicPluginTensorDesc*, int32_t outputs) noexcept {
  return guarded(kName, 1, [&] {
    check_places(inputs, outputs);
    quantise_.check(length_of(in[0].max, 2, 0, "rows"), length_of(in[0].max, 2, 1, "rows"),
                    element_of(in[0].desc.type));
    return 0;
  });
}

int32_t QuantisePlugin::getOutputDataTypes(nvinfer1::DataType* types, int32_t outputs,
                                           const nvinfer1::DataType* given,
                                           int32_t inputs) const noexcept {
  return guarded(kName, 1, [&] {
    check_places(inputs, outputs);
    for (int32_t i = 0; i < outputs; ++i) {
      Type type{};
      quantise_type(inputs + i, type_of(given[0]), type);
      types[i] = data_type_of(type);
    }
    return 0;
  });
}

int32_t QuantisePlugin::getOutputShapes(const nvinfer1::DimsExprs* in, int32_t inputs,
                                        const nvinfer1::DimsExprs*, int32_t,
                                        nvinfer1::DimsExprs* out, int32_t outputs,
                                        nvinfer1::IExprBuilder&) noexcept {
  return guarded(kName, 1, [&] {
    check_places(inputs, outputs);
    if (in[0].nbDims != 2) {
      throw InputError("rows with " + std::to_string(in[0].nbDims) + " dimensions", "2");
    }
    out[0] = in[0];
    out[1].nbDims = 1;
    out[1].d[0] = in[0].d[0];
    return 0;
  });
}

bool QuantisePlugin::supportsFormatCombination(int32_t place,
                                               const DynamicPluginTensorDesc* tensors,
                                               int32_t inputs, int32_t outputs) noexcept {
  return guarded(kName, false, [&] {
    check_places(inputs, outputs);
    const Type first = type_of(tensors[0].desc.type);
    Element element{};
    Type wanted{};
    return tensors[place].desc.format == nvinfer1::TensorFormat::kLINEAR &&
           crosscam::trt::element_of(first, element) && quantise_.has(element) &&
           quantise_type(place, first, wanted) && type_of(tensors[place].desc.type) == wanted;
  });
}

int32_t QuantisePlugin::onShapeChange(const PluginTensorDesc* in, int32_t inputs,
                                      const PluginTensorDesc*, int32_t outputs) noexcept {
  return guarded(kName, 1, [&] {
    check_places(inputs, outputs);
    const int64_t dim = length_of(in[0].dims, 2, 1, "rows");
    quantise_.check(length_of(in[0].dims, 2, 0, "rows"), dim, element_of(in[0].type));
    quantise_.prepare(dim, element_of(in[0].type));
    return 0;
  });
}

int32_t QuantisePlugin::enqueue(const PluginTensorDesc* in, const PluginTensorDesc*,
                                const void* const* inputs, void* const* outputs, void*,
                                cudaStream_t stream) noexcept {
  return guarded(kName, 1, [&] {
    quantise_.launch(inputs[0], length_of(in[0].dims, 2, 0, "rows"),
                     length_of(in[0].dims, 2, 1, "rows"), element_of(in[0].type),
                     static_cast<int8_t*>(outputs[0]), static_cast<float*>(outputs[1]), stream);
    return 0;
  });
}

nvinfer1::IPluginV3* QuantisePlugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return guarded(kName, static_cast<IPluginV3*>(nullptr),
                 [&]() -> IPluginV3* { return new QuantisePlugin(quantise_.fresh()); });
}

const nvinfer1::PluginFieldCollection* QuantisePlugin::getFieldsToSerialize() noexcept {
  return &collection_;
}

nvinfer1::IPluginV3* QuantiseCreator::createPlugin(const char*,
                                                   const nvinfer1::PluginFieldCollection* fields,
                                                   nvinfer1::TensorRTPhase phase) noexcept {
  return guarded(QuantisePlugin::kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                 [&]() -> nvinfer1::IPluginV3* {
                   const std::vector<Field> given = fields_from(fields);
                   if (phase == nvinfer1::TensorRTPhase::kRUNTIME) {
                     check_version_only(given);
                   } else if (!given.empty()) {
                     throw InputError("a field '" + given[0].name + "'", "none");
                   }
                   return new QuantisePlugin(Quantise(kernel_folder()));
                 });
}

}  // namespace crosscam::trt
