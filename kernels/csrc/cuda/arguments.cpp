#include "cuda/arguments.h"

#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace crosscam::cuda {
namespace {

[[noreturn]] void refuse(const Kernel& kernel, const std::string& found) {
  throw std::invalid_argument(std::string("kernel '") + kernel.name + "': " + found);
}

void check_divisible(const Kernel& kernel, const Parameter& parameter, uint64_t value) {
  if (value % static_cast<uint64_t>(parameter.divisible_by) != 0) {
    refuse(kernel, std::string(parameter.name) + " = " + std::to_string(value) +
                       ". Expected: a multiple of " + std::to_string(parameter.divisible_by) +
                       (parameter.type == ParameterType::kPointer ? " bytes." : "."));
  }
}

template <typename T>
bool fits(int64_t value) {
  return value >= std::numeric_limits<T>::min() && value <= std::numeric_limits<T>::max();
}

}  // namespace

const Parameter& Arguments::next(const char* kind) {
  if (count_ >= kernel_->parameters.size() || count_ >= kMaxArguments) {
    refuse(*kernel_, std::string("one ") + kind + " too many. Expected: " +
                         std::to_string(kernel_->parameters.size()) + " arguments.");
  }
  return kernel_->parameters[count_];
}

template <typename T>
void Arguments::append(T value) {
  std::memcpy(&values_[count_++], &value, sizeof(value));
}

Arguments& Arguments::pointer(const void* device) {
  const Parameter& parameter = next("pointer");
  if (parameter.type != ParameterType::kPointer) {
    refuse(*kernel_, std::string("a pointer for ") + parameter.name + ". Expected: a number.");
  }
  check_divisible(*kernel_, parameter, reinterpret_cast<uintptr_t>(device));
  append(device);
  return *this;
}

Arguments& Arguments::integer(int64_t value) {
  const Parameter& parameter = next("integer");
  // Promises are powers of two: the remainder of a negative number is that of its bits.
  check_divisible(*kernel_, parameter, static_cast<uint64_t>(value));
  bool done = true;
  switch (parameter.type) {
    case ParameterType::kInt8:
      if ((done = fits<int8_t>(value))) append(static_cast<int8_t>(value));
      break;
    case ParameterType::kInt16:
      if ((done = fits<int16_t>(value))) append(static_cast<int16_t>(value));
      break;
    case ParameterType::kInt32:
      if ((done = fits<int32_t>(value))) append(static_cast<int32_t>(value));
      break;
    case ParameterType::kInt64:
      append(value);
      break;
    default:
      refuse(*kernel_,
             std::string("an integer for ") + parameter.name + ". Expected: a " +
                 (parameter.type == ParameterType::kPointer ? "pointer." : "real number."));
  }
  if (!done) {
    refuse(*kernel_, std::string(parameter.name) + " = " + std::to_string(value) +
                         " does not fit its integer type.");
  }
  return *this;
}

Arguments& Arguments::real(double value) {
  const Parameter& parameter = next("real number");
  if (parameter.type == ParameterType::kFloat32) {
    append(static_cast<float>(value));
  } else if (parameter.type == ParameterType::kFloat64) {
    append(value);
  } else {
    refuse(*kernel_, std::string("a real number for ") + parameter.name +
                         ". Expected: a pointer or an integer.");
  }
  return *this;
}

void** Arguments::data(unsigned hidden_parameters) {
  if (count_ != kernel_->parameters.size() || count_ + hidden_parameters > kMaxArguments) {
    refuse(*kernel_, std::to_string(count_) +
                         " arguments. Expected: " + std::to_string(kernel_->parameters.size()) +
                         " (and at most " + std::to_string(kMaxArguments) + " with hidden ones).");
  }
  for (size_t i = 0; i < count_ + hidden_parameters; ++i) {
    if (i >= count_) values_[i] = 0;
    pointers_[i] = &values_[i];
  }
  return pointers_.data();
}

}  // namespace crosscam::cuda
