#pragma once

// Array types of the Python module. The bindings check nothing that crosscam_kernels has checked
// already: shapes, dtypes and ranges are the business of the Python files of each family.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>

namespace crosscam::python {

namespace nb = nanobind;
using nb::literals::operator""_a;

/// (N, D) float32; rows may be strided, the elements of a row are dense.
using Rows = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;
template <typename T>
using Column = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T, int N>
using Output = nb::ndarray<T, nb::ndim<N>, nb::device::cpu>;

template <typename T>
const T* data_or_null(const std::optional<Column<T>>& array) {
  return array ? array->data() : nullptr;
}

// One for each family of operators, in the file of its name.
void bind_camera_adversarial(nb::module_& module);
void bind_crop(nb::module_& module);
void bind_instance_memory(nb::module_& module);
void bind_memory(nb::module_& module);
void bind_normalise(nb::module_& module);
void bind_rerank(nb::module_& module);
void bind_retrieval(nb::module_& module);
void bind_similarity(nb::module_& module);
void bind_triplet(nb::module_& module);

}  // namespace crosscam::python
