#include "tensorrt/common.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "errors.h"

namespace crosscam::trt {
namespace {

std::mutex mutex;
nvinfer1::ILoggerFinder* logger_finder = nullptr;
std::shared_ptr<const KernelFolder> folder;

nvinfer1::ILogger* logger() {
  const std::lock_guard<std::mutex> lock(mutex);
  return logger_finder == nullptr ? nullptr : logger_finder->findLogger();
}

/// The folder that this library was loaded from.
std::string folder_of_library() {
  Dl_info found{};
  if (dladdr(reinterpret_cast<const void*>(&set_logger_finder), &found) == 0 ||
      found.dli_fname == nullptr) {
    return ".";
  }
  const std::string path = found.dli_fname;
  const size_t end = path.rfind('/');
  return end == std::string::npos ? "." : path.substr(0, end);
}

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept {
  const std::lock_guard<std::mutex> lock(mutex);
  if (logger_finder == nullptr) logger_finder = finder;
}

void log_error(const std::string& message) noexcept {
  nvinfer1::ILogger* const found = logger();
  if (found != nullptr) {
    found->log(nvinfer1::ILogger::Severity::kERROR, message.c_str());
  } else {
    std::fprintf(stderr, "%s\n", message.c_str());
  }
}

Type type_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return Type::kFloat32;
    case nvinfer1::DataType::kHALF:
      return Type::kFloat16;
    case nvinfer1::DataType::kBF16:
      return Type::kBFloat16;
    case nvinfer1::DataType::kINT8:
      return Type::kInt8;
    case nvinfer1::DataType::kINT32:
      return Type::kInt32;
    case nvinfer1::DataType::kINT64:
      return Type::kInt64;
    case nvinfer1::DataType::kBOOL:
      return Type::kBool;
    default:
      return Type::kOther;
  }
}

nvinfer1::DataType data_type_of(Type type) {
  switch (type) {
    case Type::kFloat32:
      return nvinfer1::DataType::kFLOAT;
    case Type::kFloat16:
      return nvinfer1::DataType::kHALF;
    case Type::kBFloat16:
      return nvinfer1::DataType::kBF16;
    case Type::kInt8:
      return nvinfer1::DataType::kINT8;
    case Type::kInt32:
      return nvinfer1::DataType::kINT32;
    case Type::kInt64:
      return nvinfer1::DataType::kINT64;
    case Type::kBool:
      return nvinfer1::DataType::kBOOL;
    case Type::kOther:
      break;
  }
  throw InputError("a type that TensorRT has no word for");
}

Element element_of(nvinfer1::DataType type) {
  Element element{};
  if (!element_of(type_of(type), element)) {
    throw InputError("embeddings of TensorRT's type " + std::to_string(static_cast<int>(type)),
                     "float32, float16 or bfloat16");
  }
  return element;
}

std::vector<Field> fields_from(const nvinfer1::PluginFieldCollection* fields) {
  std::vector<Field> found;
  if (fields == nullptr) return found;
  for (int32_t i = 0; i < fields->nbFields; ++i) {
    const nvinfer1::PluginField& field = fields->fields[i];
    // The parser of ONNX gives the length of one integer as 4, its bytes.
    if (field.name == nullptr || field.data == nullptr || field.length < 1 ||
        field.type != nvinfer1::PluginFieldType::kINT32) {
      throw InputError(std::string("the field ") + (field.name == nullptr ? "?" : field.name),
                       "a 32-bit integer");
    }
    found.push_back({field.name, *static_cast<const int32_t*>(field.data)});
  }
  return found;
}

int64_t length_of(const nvinfer1::Dims& dims, int rank, int place, const char* tensor) {
  if (dims.nbDims != rank) {
    throw InputError(std::string(tensor) + " with " + std::to_string(dims.nbDims) + " dimensions",
                     std::to_string(rank));
  }
  return dims.d[place];
}

std::shared_ptr<const KernelFolder> kernel_folder() {
  const std::lock_guard<std::mutex> lock(mutex);
  if (folder == nullptr) {
    const char* const named = std::getenv("CROSSCAM_KERNELS");
    const bool given = named != nullptr && named[0] != '\0';
    folder = std::make_shared<const KernelFolder>(given ? std::string(named)
                                                        : folder_of_library() + "/kernels");
  }
  return folder;
}

}  // namespace crosscam::trt
