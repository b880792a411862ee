#include "tensorrt/search_plugin.h"

#include <utility>

#include "errors.h"

namespace crosscam::trt {
namespace {

using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

void check_places(int32_t inputs, int32_t outputs) {
  if ((inputs == kPlainInputs || inputs == kMaskedInputs) && outputs == kSearchOutputs) return;
  throw InputError(std::to_string(inputs) + " inputs and " + std::to_string(outputs) + " outputs",
                   "2 or 5, and 2");
}

/// Sizes out of the dimensions of the inputs, which must fit each other.
SearchSizes sizes_of(const nvinfer1::Dims& queries, const nvinfer1::Dims& gallery) {
  const SearchSizes sizes{length_of(queries, 2, 0, "queries"), length_of(gallery, 2, 0, "gallery"),
                          length_of(queries, 2, 1, "queries")};
  if (length_of(gallery, 2, 1, "gallery") != sizes.dim) {
    throw InputError("a gallery of rows of length " + std::to_string(gallery.d[1]),
                     std::to_string(sizes.dim) + ", as the queries have");
  }
  return sizes;
}

void check_masks(const nvinfer1::Dims& valid, const nvinfer1::Dims& query_camera,
                 const nvinfer1::Dims& gallery_camera, const SearchSizes& sizes) {
  const bool fit = length_of(valid, 1, 0, "valid") == sizes.gallery &&
                   length_of(query_camera, 1, 0, "query_camera") == sizes.queries &&
                   length_of(gallery_camera, 1, 0, "gallery_camera") == sizes.gallery;
  if (!fit) throw InputError("masks of other lengths than the queries and the gallery");
}

SearchSizes checked(const PluginTensorDesc* in, bool masked) {
  const SearchSizes sizes = sizes_of(in[0].dims, in[1].dims);
  if (masked) check_masks(in[2].dims, in[3].dims, in[4].dims, sizes);
  return sizes;
}

}  // namespace

SearchPlugin::SearchPlugin(Search search)
    : search_(std::move(search)),
      told_("crosscam k=" + std::to_string(search_.fields().k) +
            " tile=" + std::to_string(search_.fields().tile_rows)),
      values_(values_of(search_.fields())) {
  for (size_t i = 0; i < values_.size(); ++i) {
    fields_.emplace_back(kSearchFieldNames[i], &values_[i], nvinfer1::PluginFieldType::kINT32, 1);
  }
  collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
}

nvinfer1::IPluginCapability* SearchPlugin::getCapabilityInterface(
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

nvinfer1::IPluginV3* SearchPlugin::clone() noexcept {
  return guarded(kName, static_cast<IPluginV3*>(nullptr), [&]() -> IPluginV3* {
    auto* const made = new SearchPlugin(search_);
    made->masked_ = masked_;
    return made;
  });
}

int32_t SearchPlugin::configurePlugin(const DynamicPluginTensorDesc* in, int32_t inputs,
                                      const DynamicPluginTensorDesc*, int32_t outputs) noexcept {
  return guarded(kName, 1, [&] {
    check_places(inputs, outputs);
    masked_ = inputs == kMaskedInputs;
    // Bounds of tensors are loose where shapes are computed: what must fit exactly waits for
    // onShapeChange.
    search_.check(sizes_of(in[0].max, in[1].max), element_of(in[0].desc.type), masked_);
    return 0;
  });
}

int32_t SearchPlugin::getOutputDataTypes(nvinfer1::DataType* types, int32_t outputs,
                                         const nvinfer1::DataType* given,
                                         int32_t inputs) const noexcept {
  return guarded(kName, 1, [&] {
    check_places(inputs, outputs);
    for (int32_t i = 0; i < outputs; ++i) {
      Type type{};
      search_type(inputs + i, inputs, type_of(given[0]), type);
      types[i] = data_type_of(type);
    }
    return 0;
  });
}

int32_t SearchPlugin::getOutputShapes(const nvinfer1::DimsExprs* in, int32_t inputs,
                                      const nvinfer1::DimsExprs*, int32_t, nvinfer1::DimsExprs* out,
                                      int32_t outputs, nvinfer1::IExprBuilder& builder) noexcept {
  return guarded(kName, 1, [&] {
    check_places(inputs, outputs);
    for (int32_t i = 0; i < inputs; ++i) {
      const int rank = i < kPlainInputs ? 2 : 1;
      if (in[i].nbDims != rank) {
        throw InputError(
            "input " + std::to_string(i) + " with " + std::to_string(in[i].nbDims) + " dimensions",
            std::to_string(rank));
      }
    }
    for (int32_t i = 0; i < outputs; ++i) {
      out[i].nbDims = 2;
      out[i].d[0] = in[0].d[0];
      out[i].d[1] = builder.constant(search_.fields().k);
      if (out[i].d[1] == nullptr) throw InputError("TensorRT made no constant");
    }
    return 0;
  });
}

bool SearchPlugin::supportsFormatCombination(int32_t place, const DynamicPluginTensorDesc* tensors,
                                             int32_t inputs, int32_t outputs) noexcept {
  return guarded(kName, false, [&] {
    check_places(inputs, outputs);
    const Type first = type_of(tensors[0].desc.type);
    Element element{};
    Type wanted{};
    return tensors[place].desc.format == nvinfer1::TensorFormat::kLINEAR &&
           crosscam::trt::element_of(first, element) &&
           search_.has(element, inputs == kMaskedInputs) &&
           search_type(place, inputs, first, wanted) && type_of(tensors[place].desc.type) == wanted;
  });
}

size_t SearchPlugin::getWorkspaceSize(const DynamicPluginTensorDesc* in, int32_t,
                                      const DynamicPluginTensorDesc*, int32_t) const noexcept {
  return guarded(kName, size_t{0},
                 [&] { return search_.workspace_bytes(sizes_of(in[0].max, in[1].max)); });
}

int32_t SearchPlugin::onShapeChange(const PluginTensorDesc* in, int32_t inputs,
                                    const PluginTensorDesc*, int32_t outputs) noexcept {
  return guarded(kName, 1, [&] {
    check_places(inputs, outputs);
    masked_ = inputs == kMaskedInputs;
    const Element element = element_of(in[0].type);
    search_.check(checked(in, masked_), element, masked_);
    search_.prepare(element, masked_);
    return 0;
  });
}

int32_t SearchPlugin::enqueue(const PluginTensorDesc* in, const PluginTensorDesc*,
                              const void* const* inputs, void* const* outputs, void* workspace,
                              cudaStream_t stream) noexcept {
  return guarded(kName, 1, [&] {
    SearchTensors tensors{};
    tensors.queries = inputs[0];
    tensors.gallery = inputs[1];
    if (masked_) {
      tensors.valid = inputs[2];
      tensors.query_camera = inputs[3];
      tensors.gallery_camera = inputs[4];
    }
    tensors.similarity = static_cast<float*>(outputs[0]);
    tensors.index = static_cast<int64_t*>(outputs[1]);
    search_.launch(tensors, checked(in, masked_), element_of(in[0].type), workspace, stream);
    return 0;
  });
}

nvinfer1::IPluginV3* SearchPlugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return guarded(kName, static_cast<IPluginV3*>(nullptr), [&]() -> IPluginV3* {
    auto* const made = new SearchPlugin(search_.fresh());
    made->masked_ = masked_;
    return made;
  });
}

const nvinfer1::PluginFieldCollection* SearchPlugin::getFieldsToSerialize() noexcept {
  return &collection_;
}

nvinfer1::IPluginV3* SearchCreator::createPlugin(const char*,
                                                 const nvinfer1::PluginFieldCollection* fields,
                                                 nvinfer1::TensorRTPhase phase) noexcept {
  return guarded(SearchPlugin::kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                 [&]() -> nvinfer1::IPluginV3* {
                   const std::vector<Field> given = fields_from(fields);
                   if (phase == nvinfer1::TensorRTPhase::kRUNTIME) {
                     const SearchFields remembered = read_search_fields(given);
                     return new SearchPlugin(Search(kernel_folder(), remembered));
                   }
                   return new SearchPlugin(Search(kernel_folder(), read_k(given)));
                 });
}

}  // namespace crosscam::trt
