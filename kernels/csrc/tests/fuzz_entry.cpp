// The entry of libFuzzer and of any fuzzer that writes to standard input.
#include <cstdlib>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  crosscam::fuzz::Source random(data, size);
  if (!fuzz_one(random)) std::abort();  // what fuzzers look for
  return 0;
}
