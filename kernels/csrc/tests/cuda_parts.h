#pragma once

// What the tests of the CUDA backend's host side share: a driver that only records (fake_cuda.h),
// and messages of exceptions.
#include <functional>
#include <string>

#include "check.h"
#include "fake_cuda.h"

inline constexpr const char* kFake = FAKE_CUDA_LIBRARY;

/// Message of the exception that `body` must throw.
template <typename Error>
std::string thrown(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  CHECK(!"an exception was expected");
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  std::fprintf(stderr, "'%s' does not contain '%s'\n", text.c_str(), part.c_str());
  return false;
}

inline void reset() { fake_cuda() = FakeCuda{}; }
