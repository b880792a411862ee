#pragma once

#include <stdexcept>
#include <string>

namespace crosscam::trt {

/// Something given from outside cannot be used: a file, a field, a shape. The message says what was
/// found, what was expected, and what to do.
class InputError : public std::runtime_error {
 public:
  explicit InputError(const std::string& found, const std::string& expected = "",
                      const std::string& what_to_do = "")
      : std::runtime_error(found + "." + (expected.empty() ? "" : " Expected: " + expected + ".") +
                           (what_to_do.empty() ? "" : " What to do: " + what_to_do + ".")) {}
};

}  // namespace crosscam::trt
