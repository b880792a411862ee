#include "cuda/kernels.h"

#include <stdexcept>
#include <string>

#include "cuda/driver.h"

namespace crosscam::cuda {
namespace {

bool is_tegra(int capability) {
  return capability == 72 || capability == 87 || capability == 101 || capability == 110;
}

bool runs_binary_of(int capability, const Image& image) {
  if (image.capability == 0 || image.capability == capability) return true;
  return !image.exact && image.capability / 10 == capability / 10 &&
         image.capability < capability && !is_tegra(capability) && !is_tegra(image.capability);
}

/// The newest of the images that `usable` accepts, or null.
template <typename Usable>
const Image* newest(std::span<const Image> images, Usable usable) {
  const Image* best = nullptr;
  for (const Image& image : images) {
    if (usable(image) && (best == nullptr || image.capability > best->capability)) best = &image;
  }
  return best;
}

}  // namespace

const Kernel& find_kernel(std::span<const Kernel> kernels, std::string_view name) {
  std::string names;
  for (const Kernel& kernel : kernels) {
    if (kernel.name == name) return kernel;
    names += std::string(names.empty() ? "" : ", ") + kernel.name;
  }
  throw std::invalid_argument("no kernel '" + std::string(name) +
                              "' was embedded in this program. Expected: one of " +
                              (names.empty() ? "none at all" : names) +
                              ". What to do: compile it with python -m crosscam_kernels.aot and "
                              "configure with CROSSCAM_AOT_DIR.");
}

Choice choose_image(const Kernel& kernel, int capability) {
  const Image* const binary =
      newest(kernel.images, [&](const Image& image) { return runs_binary_of(capability, image); });
  if (binary != nullptr) return {binary, false};
  const Image* const ptx = newest(kernel.images, [&](const Image& image) {
    return image.ptx != nullptr && !image.exact && image.capability <= capability;
  });
  if (ptx != nullptr) return {ptx, true};
  std::string there;
  for (const Image& image : kernel.images) {
    there += (there.empty() ? "sm_" : ", sm_") + std::to_string(image.capability) +
             (image.exact ? "a" : "");
  }
  throw CudaError("kernel '" + std::string(kernel.name) + "' does not run on sm_" +
                  std::to_string(capability) + ". Expected: one of " + there +
                  ". What to do: compile it with python -m crosscam_kernels.aot --arch sm_" +
                  std::to_string(capability) + ".");
}

}  // namespace crosscam::cuda
