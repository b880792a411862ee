#pragma once

// A CUDA driver that computes nothing: it answers as `fake_cuda()` is set, and records what it is
// asked. It is loaded as the real one is, by its path.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

struct FakeLaunch {
  std::string function;
  std::vector<unsigned> grid_and_block;  // x, y, z of both
  unsigned shared_bytes;
  void* stream;
  std::vector<uint64_t> arguments;  // the first `parameters` of them
  int contexts;                     // how many were current
};

struct FakeCopy {
  const void* from;
  void* to;
  size_t from_pitch, to_pitch, width_bytes, height;
  void* stream;
  size_t after;  // launches before it
};

struct FakeCuda {
  // answers
  int devices = 1;
  int capability = 90;
  int max_shared_bytes = 232448;
  int multiprocessors = 132;
  std::string jit_log;
  std::map<std::string, int> fail;              // symbol -> CUresult
  int parameters = 0;                           // arguments to record of a launch
  std::vector<int> parameters_in_turn;          // the same for each launch, before `parameters`
  void* current = reinterpret_cast<void*>(40);  // context that cuCtxGetCurrent answers
  // records
  std::vector<std::string> calls;
  std::vector<std::string> loaded;  // what modules were made from, up to the first zero
  std::vector<FakeLaunch> launches;
  std::vector<FakeCopy> copies;
  std::map<std::string, int> attributes;  // of functions
  int modules = 0;                        // loaded and not unloaded
  int retained = 0;
  int contexts = 0;
};

extern "C" FakeCuda& fake_cuda();
