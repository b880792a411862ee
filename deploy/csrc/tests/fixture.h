#pragma once

// The folder of kernels that the tests read, and changed copies of it.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "check.h"

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  CHECK(file.good());
}

/// `text` with the first `old` behind `after` replaced; both must be there.
inline std::string replaced(std::string text, const std::string& old, const std::string& by,
                            const std::string& after = "") {
  const size_t from = text.find(after);
  CHECK(from != std::string::npos);
  const size_t at = text.find(old, from);
  CHECK(at != std::string::npos);
  return text.replace(at, old.size(), by);
}

/// A copy of the fixture in a folder that goes with the object.
class CopiedKernels {
 public:
  CopiedKernels() {
    std::string name = (std::filesystem::temp_directory_path() / "crosscam-trt-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
    std::filesystem::copy(FIXTURE, path_);
  }
  ~CopiedKernels() { std::filesystem::remove_all(path_); }
  CopiedKernels(const CopiedKernels&) = delete;
  CopiedKernels& operator=(const CopiedKernels&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void change(const std::string& file, const std::string& old, const std::string& by,
              const std::string& after = "") const {
    write_text(path_ / file, replaced(read_text(path_ / file), old, by, after));
  }

 private:
  std::filesystem::path path_;
};
