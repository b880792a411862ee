#include "manifest.h"

#include <algorithm>
#include <initializer_list>
#include <limits>

#include "errors.h"
#include "json.h"

namespace crosscam::trt {
namespace {

constexpr const char* kAdvice = "compile anew with python -m crosscam_kernels.aot";

[[noreturn]] void refuse(const std::string& where, const std::string& expected) {
  throw InputError("the manifest of the kernels is none: " + where, expected, kAdvice);
}

/// The members of an object, all of which must be asked for, and no others.
class Members {
 public:
  Members(const Json& json, std::string where) : where_(std::move(where)) {
    const auto* const held = std::get_if<JsonObject>(&json.value);
    if (held == nullptr) refuse(where_, "an object");
    members_ = held;
  }

  const std::string& where() const { return where_; }

  template <typename T>
  const T& get(const char* name, const char* expected) {
    const auto* const found = std::get_if<T>(&any(name).value);
    if (found == nullptr) refuse(place(name), expected);
    return *found;
  }
  const std::string& text(const char* name) { return get<std::string>(name, "text"); }
  const JsonList& list(const char* name) { return get<JsonList>(name, "a list"); }
  int64_t count(const char* name, int64_t most = std::numeric_limits<int32_t>::max()) {
    const auto number = get<int64_t>(name, "a whole number");
    if (number < 0 || number > most) refuse(place(name), "0 to " + std::to_string(most));
    return number;
  }
  const Json& any(const char* name) {
    for (const auto& [key, value] : *members_) {
      if (key == name) {
        asked_.emplace_back(name);
        return value;
      }
    }
    refuse(place(name), "to be there");
  }

  /// To be called after all are asked for.
  void done() const {
    for (const auto& member : *members_) {
      if (std::find(asked_.begin(), asked_.end(), member.first) == asked_.end()) {
        refuse(place(member.first), "nothing of that name");
      }
    }
  }

 private:
  std::string place(const std::string& name) const {
    return where_.empty() ? name : where_ + "." + name;
  }

  std::string where_;
  const JsonObject* members_;
  std::vector<std::string> asked_;
};

bool only(const std::string& text, std::string_view letters) {
  return !text.empty() && text.find_first_not_of(letters) == std::string::npos;
}

File read_file_entry(const Json& json, const std::string& where) {
  Members members(json, where);
  File file{members.text("path"), members.text("sha256"), members.count("size")};
  members.done();
  // A name of this folder and of no other.
  if (file.path.empty() || file.path == "." || file.path == ".." ||
      file.path.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
    refuse(where + ".path", "the name of a file beside the manifest");
  }
  if (file.sha256.size() != 64 || !only(file.sha256, "0123456789abcdef")) {
    refuse(where + ".sha256", "64 hexadecimal digits");
  }
  return file;
}

ManifestParameter read_parameter(const Json& json, const std::string& where) {
  using enum cuda::ParameterType;
  static const std::map<std::string, cuda::ParameterType> types = {
      {"i1", kInt8},   {"i8", kInt8},      {"u8", kInt8},     {"i16", kInt16},
      {"u16", kInt16}, {"i32", kInt32},    {"u32", kInt32},   {"i64", kInt64},
      {"u64", kInt64}, {"fp32", kFloat32}, {"fp64", kFloat64}};
  Members members(json, where);
  const std::string name = members.text("name");
  const std::string& type = members.text("type");
  const int64_t divisible_by = members.count("divisible_by");
  members.done();
  if (divisible_by != 1 && divisible_by != 16) refuse(where + ".divisible_by", "1 or 16");
  const auto found = types.find(type);
  const bool pointer = type.starts_with('*');
  if (!pointer && found == types.end()) refuse(where + ".type", "a type that can be passed");
  return {name, pointer ? kPointer : found->second, static_cast<int>(divisible_by)};
}

ManifestBinary read_binary(const Json& json, const std::string& where, int64_t warps) {
  Members members(json, where);
  const std::string& architecture = members.text("architecture");
  const std::string& target = members.text("target");
  ManifestBinary binary;
  binary.entry = members.text("entry");
  binary.block_threads = static_cast<unsigned>(members.count("block_threads", 1024));
  binary.shared_bytes = static_cast<unsigned>(members.count("shared_bytes", 1 << 20));
  binary.hidden_parameters = static_cast<unsigned>(members.count("hidden_parameters", 4));
  const int64_t scratch =
      members.count("global_scratch_bytes") + members.count("profile_scratch_bytes");
  for (const char* const resource :
       {"registers", "stack_bytes", "spill_store_bytes", "spill_load_bytes"}) {
    members.count(resource);
  }
  members.text("ptx_version");
  binary.ptx = read_file_entry(members.any("ptx"), where + ".ptx");
  binary.cubin = read_file_entry(members.any("cubin"), where + ".cubin");
  members.done();
  const std::string digits = architecture.substr(std::min<size_t>(3, architecture.size()));
  if (!architecture.starts_with("sm_") || !only(digits, "0123456789") || digits.size() > 4) {
    refuse(where + ".architecture", "sm_ and a number");
  }
  binary.capability = std::stoi(digits);
  binary.exact = target == architecture + "a";
  if (!binary.exact && target != architecture) {
    refuse(where + ".target", architecture + " or " + architecture + "a");
  }
  if (binary.block_threads != 32 * warps) refuse(where + ".block_threads", "32 threads a warp");
  if (scratch != 0) refuse(where, "a kernel without scratch memory, which nothing gives it");
  return binary;
}

ManifestKernel read_kernel(Members& members, bool& plugin) {
  ManifestKernel kernel;
  kernel.name = members.text("name");
  plugin = members.get<bool>("plugin", "true or false");
  const int64_t warps = members.count("num_warps", 32);
  members.text("module");
  members.count("num_stages");
  members.get<bool>("enable_fp_fusion", "true or false");
  const JsonList& parameters = members.list("parameters");
  for (size_t i = 0; i < parameters.size(); ++i) {
    kernel.parameters.push_back(
        read_parameter(parameters[i], members.where() + ".parameters." + std::to_string(i)));
  }
  for (const auto& [name, value] : members.get<JsonObject>("constants", "an object")) {
    if (const auto* const size = std::get_if<int64_t>(&value.value)) kernel.sizes[name] = *size;
  }
  const JsonList& binaries = members.list("binaries");
  for (size_t i = 0; i < binaries.size(); ++i) {
    kernel.binaries.push_back(
        read_binary(binaries[i], members.where() + ".binaries." + std::to_string(i), warps));
  }
  members.done();
  return kernel;
}

}  // namespace

int64_t ManifestKernel::size(const std::string& constant) const {
  const auto found = sizes.find(constant);
  if (found == sizes.end() || found->second <= 0) {
    throw InputError("the kernel " + name + " was compiled without a size " + constant, "",
                     kAdvice);
  }
  return found->second;
}

std::vector<ManifestKernel> read_manifest(std::string_view text) {
  const Json json = parse_json(text);
  Members members(json, "");
  if (members.count("version") != 1) refuse("version", "1");
  members.text("triton_version");
  const JsonList& list = members.list("kernels");
  members.done();
  std::vector<ManifestKernel> kernels;
  for (size_t i = 0; i < list.size(); ++i) {
    Members entry(list[i], "kernels." + std::to_string(i));
    bool plugin = false;
    ManifestKernel kernel = read_kernel(entry, plugin);
    for (const ManifestKernel& other : kernels) {
      if (other.name == kernel.name) refuse(entry.where() + ".name", "a name once");
    }
    if (plugin) kernels.push_back(std::move(kernel));
  }
  return kernels;
}

}  // namespace crosscam::trt
