#include <nanobind/nanobind.h>

#include "cpu_features.h"

NB_MODULE(_native, m) { m.def("simd_level", &crosscam::simd_level); }
