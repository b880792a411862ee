// The real kernels, as this program carries them. Needs no device.
#include <cstring>
#include <string>

#include "check.h"
#include "cuda/arguments.h"
#include "cuda/kernels.h"
#include "cuda/operators.h"

namespace {

using namespace crosscam::cuda;

bool begins_with(const void* data, const char* text) {
  return std::memcmp(data, text, std::strlen(text)) == 0;
}

}  // namespace

int main() {
  constexpr unsigned char kFatbin[] = {0x50, 0xED, 0x55, 0xBA};  // 0xBA55ED50, little-endian
  for (const Kernel& kernel : embedded_kernels()) {
    CHECK(!kernel.images.empty());
    for (const Image& image : kernel.images) {
      CHECK(kernel.parameters.size() + image.hidden_parameters <= Arguments::kMaxArguments);
    }
    for (const Image& image : kernel.images) {
      if (image.capability == 0) {
        CHECK(std::memcmp(image.binary, kFatbin, sizeof(kFatbin)) == 0);
        continue;
      }
      CHECK(begins_with(image.binary,
                        "\x7f"
                        "ELF"));
      CHECK(image.exact == (image.ptx == nullptr));
      CHECK(image.block_threads >= 32 && image.block_threads % 32 == 0);
      if (image.ptx == nullptr) continue;
      const std::string ptx(image.ptx);
      CHECK(ptx.find(".entry " + std::string(image.entry)) != std::string::npos);
      CHECK(ptx.find(".target sm_" + std::to_string(image.capability)) != std::string::npos);
    }
  }
  // What Operators asks for is there.
  for (const char* element : {"fp32", "fp16", "bf16"}) {
    for (const char* block : {"_512", "_2048"}) {
      const auto name = std::string("normalise_quantise_") + element + block;
      const Kernel& kernel = find_kernel(embedded_kernels(), name);
      for (const int capability : {80, 86, 87, 89, 90, 100, 120, 121}) {
        choose_image(kernel, capability);
      }
    }
  }
  for (const char* element : {"fp32", "fp16", "bf16", "i8"}) {
    for (const char* masked : {"", "masked_"}) {
      const auto name = std::string("similarity_stream_plugin_") + masked + element + "_16_k16";
      const size_t expected = 16 + (masked[0] != 0 ? 3 : 0) + (element[0] == 'i' ? 2 : 0);
      CHECK(find_kernel(embedded_kernels(), name).parameters.size() == expected);
    }
  }
  CHECK(find_kernel(embedded_kernels(), "merge_topk").images[0].block_threads == 256);
  return 0;
}
