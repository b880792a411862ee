#pragma once

// What both plugins need of TensorRT: its words for types and fields, its logger, and the border
// that no exception crosses.

#include <NvInferRuntime.h>

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "fields.h"
#include "kernel_folder.h"
#include "types.h"

namespace crosscam::trt {

inline constexpr const char* kNamespace = "crosscam";
inline constexpr const char* kVersion = "1";

/// Take the logger from TensorRT. The first one stays.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

/// Tell TensorRT's logger; standard error where it gave none.
void log_error(const std::string& message) noexcept;

/// The answer of `body`, or `failure` after its exception was logged: TensorRT is given no
/// exceptions.
template <typename Answer, typename Body>
Answer guarded(const char* where, Answer failure, const Body& body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    log_error(std::string("crosscam::") + where + ": " + error.what());
  } catch (...) {
    log_error(std::string("crosscam::") + where + ": an unknown error");
  }
  return failure;
}

Type type_of(nvinfer1::DataType type);
nvinfer1::DataType data_type_of(Type type);

/// The type of embeddings of a tensor.
///
/// @throws InputError when no kernel is named after it.
Element element_of(nvinfer1::DataType type);

/// Fields as TensorRT passes them.
///
/// @throws InputError when one is no 32-bit integer.
std::vector<Field> fields_from(const nvinfer1::PluginFieldCollection* fields);

/// Length `place` of a tensor of `rank` dimensions.
///
/// @throws InputError when it has another number of dimensions.
int64_t length_of(const nvinfer1::Dims& dims, int rank, int place, const char* tensor);

/// The kernels that every plugin of this process uses: those of the folder in the environment
/// variable CROSSCAM_KERNELS, else of the folder `kernels` beside this library. Read at the first
/// call that succeeds.
///
/// @throws InputError when there are none.
std::shared_ptr<const KernelFolder> kernel_folder();

}  // namespace crosscam::trt
