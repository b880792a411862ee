#include "kernel_folder.h"

#include <cstdio>
#include <utility>

#include "errors.h"
#include "sha256.h"

namespace crosscam::trt {
namespace {

constexpr size_t kMostManifestBytes = 16 << 20;

/// Content of a file of at most so many bytes.
std::string read_file(const std::string& path, size_t most) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  if (file == nullptr) {
    throw InputError(path + " cannot be read", "the output of python -m crosscam_kernels.aot",
                     "name that folder in the environment variable CROSSCAM_KERNELS");
  }
  std::string content;
  char block[1 << 16];
  for (size_t count = 1; count > 0 && content.size() <= most;) {
    count = std::fread(block, 1, sizeof(block), file.get());
    content.append(block, count);
  }
  if (std::ferror(file.get()) != 0) throw InputError(path + " cannot be read to its end");
  if (content.size() > most) {
    throw InputError(path + " is too long", "at most " + std::to_string(most) + " bytes");
  }
  return content;
}

std::string join(const std::string& folder, const std::string& name) { return folder + "/" + name; }

}  // namespace

LoadedKernel::LoadedKernel(const ManifestKernel& described, const ManifestBinary& binary,
                           std::string content, bool from_ptx)
    : described_(described), entry_(binary.entry), content_(std::move(content)) {
  for (const ManifestParameter& parameter : described_.parameters) {
    parameters_.push_back({parameter.name.c_str(), parameter.type, parameter.divisible_by});
  }
  // choose_image must decide on it as on the entry of the manifest: as PTX, which the driver
  // compiles, or as code that runs where it is.
  image_ = {binary.capability,
            binary.exact,
            entry_.c_str(),
            binary.block_threads,
            binary.shared_bytes,
            binary.hidden_parameters,
            reinterpret_cast<const unsigned char*>(content_.c_str()),
            from_ptx ? content_.c_str() : nullptr};
  kernel_ = {described_.name.c_str(), parameters_, {&image_, 1}};
}

KernelFolder::KernelFolder(std::string path)
    : path_(std::move(path)),
      kernels_(read_manifest(read_file(join(path_, "manifest.json"), kMostManifestBytes))) {}

const ManifestKernel* KernelFolder::find(const std::string& name) const {
  for (const ManifestKernel& kernel : kernels_) {
    if (kernel.name == name) return &kernel;
  }
  return nullptr;
}

const ManifestKernel& KernelFolder::get(const std::string& name) const {
  const ManifestKernel* const kernel = find(name);
  if (kernel != nullptr) return *kernel;
  throw InputError(path_ + " has no kernel " + name, "",
                   "python -m crosscam_kernels.aot --out " + path_ + " --kernel " + name);
}

std::unique_ptr<LoadedKernel> KernelFolder::load(const std::string& name, int capability) const {
  const ManifestKernel& kernel = get(name);
  std::vector<cuda::Image> images;
  for (const ManifestBinary& binary : kernel.binaries) {
    images.push_back(
        {binary.capability, binary.exact, "", 0, 0, 0, nullptr, binary.exact ? nullptr : ""});
  }
  const cuda::Choice choice = cuda::choose_image({name.c_str(), {}, images}, capability);
  const ManifestBinary& binary = kernel.binaries[static_cast<size_t>(choice.image - images.data())];
  const File& file = choice.from_ptx ? binary.ptx : binary.cubin;
  const std::string path = join(path_, file.path);
  std::string content = read_file(path, static_cast<size_t>(file.size));
  if (content.size() != static_cast<size_t>(file.size) || sha256(content) != file.sha256) {
    throw InputError(path + " is damaged or was replaced", "sha256 " + file.sha256,
                     "compile anew with python -m crosscam_kernels.aot");
  }
  return std::make_unique<LoadedKernel>(kernel, binary, std::move(content), choice.from_ptx);
}

}  // namespace crosscam::trt
