// Runs a fuzz target without a fuzzer; see fuzz.h.
#include <cstdlib>
#include <vector>

#include "fuzz.h"

extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));

namespace {

unsigned long long seed = 0;

void print_seed() { std::fprintf(stderr, "seed %llu\n", seed); }

std::vector<uint8_t> standard_input() {
  std::vector<uint8_t> bytes;
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    bytes.push_back(static_cast<uint8_t>(c));
  }
  return bytes;
}

bool run(const std::vector<uint8_t>& bytes) {
  crosscam::fuzz::Source random(bytes.data(), bytes.size());
  return fuzz_one(random);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "-") == 0) {
    const std::vector<uint8_t> bytes = standard_input();
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    return 0;
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(print_seed);
  const long long iterations = argc > 1 ? std::atoll(argv[1]) : 100;
  const auto first = static_cast<unsigned long long>(argc > 2 ? std::atoll(argv[2]) : 1);
  for (long long i = 0; i < iterations; ++i) {
    seed = first + static_cast<unsigned long long>(i);
    std::vector<uint8_t> bytes(sizeof seed);
    uint64_t mixed = seed * 0x9E3779B97F4A7C15ULL;  // seeds next to each other, bytes that differ
    mixed ^= mixed >> 32;
    std::memcpy(bytes.data(), &mixed, sizeof mixed);
    if (run(bytes)) continue;
    print_seed();
    return 1;
  }
  return 0;
}
