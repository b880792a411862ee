// Python face of the simulator's renderer: crosscam_edge.simulate._raster.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "view.h"

namespace nb = nanobind;
namespace sim = crosscam::sim;

using Floats1 = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats2 = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Floats3 = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Doubles1 = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Ints1 = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Ints2 = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

namespace {

void require(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

std::vector<sim::Material> materials_from(const Floats2& rows) {
  require(rows.shape(1) == sim::Material::kFloats, "materials: expected 20 columns");
  std::vector<sim::Material> out;
  for (size_t i = 0; i < rows.shape(0); ++i)
    out.push_back(sim::Material::from(rows.data() + i * sim::Material::kFloats));
  return out;
}

std::vector<sim::Vec3> vectors_from(const Floats2& rows) {
  require(rows.shape(1) == 3, "expected (N, 3)");
  std::vector<sim::Vec3> out(rows.shape(0));
  for (size_t i = 0; i < out.size(); ++i) out[i] = {rows(i, 0), rows(i, 1), rows(i, 2)};
  return out;
}

std::shared_ptr<sim::Mesh> make_mesh(const Floats2& rest, const Floats2& texture,
                                     const Floats1& cut, const Floats1& shade, const Ints2& bone,
                                     const Floats2& weight, const Ints2& triangle,
                                     const Ints1& material_of, const Floats2& materials,
                                     size_t bones) {
  const size_t n = rest.shape(0), t = triangle.shape(0);
  require(texture.shape(0) == n && cut.shape(0) == n && shade.shape(0) == n,
          "vertex arrays differ in length");
  require(bone.shape(0) == n && bone.shape(1) == 4 && weight.shape(0) == n && weight.shape(1) == 4,
          "bone and weight: expected (N, 4)");
  require(triangle.shape(1) == 3 && material_of.shape(0) == t,
          "triangle: expected (T, 3) and a material each");
  auto out = std::make_shared<sim::Mesh>();
  out->rest = vectors_from(rest);
  out->texture = vectors_from(texture);
  out->cut.assign(cut.data(), cut.data() + n);
  out->shade.assign(shade.data(), shade.data() + n);
  out->weight.assign(weight.data(), weight.data() + 4 * n);
  out->materials = materials_from(materials);
  out->bones = bones;
  for (size_t i = 0; i < 4 * n; ++i) {
    const int32_t b = bone.data()[i];
    require(b >= 0 && static_cast<size_t>(b) < bones && b < 256, "bone index out of range");
    out->bone.push_back(static_cast<uint8_t>(b));
  }
  for (size_t i = 0; i < 3 * t; ++i) {
    const int32_t v = triangle.data()[i];
    require(v >= 0 && static_cast<size_t>(v) < n, "triangle index out of range");
    out->triangle.push_back(v);
  }
  for (size_t i = 0; i < t; ++i) {
    const int32_t m = material_of(i);
    require(m >= 0 && static_cast<size_t>(m) < out->materials.size() && m < 256,
            "material index out of range");
    out->material_of.push_back(static_cast<uint8_t>(m));
  }
  return out;
}

std::shared_ptr<sim::Scenery> make_scenery(const Floats2& corners, const Ints1& material_of,
                                           const Floats2& materials, const Floats2& lamps,
                                           const Floats1& sky, const Floats1& ground) {
  require(corners.shape(1) == 9 && corners.shape(0) == material_of.shape(0),
          "corners: expected (T, 9) and a material each");
  require(lamps.shape(1) == 9, "lamps: expected (L, 9)");
  require(sky.shape(0) == 3 && ground.shape(0) == 3, "sky and ground: expected 3 values");
  sim::Lighting light;
  light.sky = {sky(0), sky(1), sky(2)};
  light.ground = {ground(0), ground(1), ground(2)};
  for (size_t i = 0; i < lamps.shape(0); ++i) {
    sim::Lamp lamp;
    lamp.position = {lamps(i, 0), lamps(i, 1), lamps(i, 2)};
    lamp.half = {lamps(i, 3), lamps(i, 4), 0};
    lamp.colour = {lamps(i, 5), lamps(i, 6), lamps(i, 7)};
    lamp.sun = lamps(i, 8) > 0;
    light.lamps.push_back(lamp);
  }
  auto table = materials_from(materials);
  std::vector<int> of;
  for (size_t i = 0; i < material_of.shape(0); ++i) {
    require(material_of(i) >= 0 && static_cast<size_t>(material_of(i)) < table.size(),
            "material index out of range");
    of.push_back(material_of(i));
  }
  return std::make_shared<sim::Scenery>(sim::Scenery{sim::Bvh(corners.data(), corners.shape(0)),
                                                     std::move(of), std::move(table),
                                                     std::move(light)});
}

std::shared_ptr<sim::View> make_view(std::shared_ptr<sim::Scenery> scenery, const Doubles1& camera,
                                     const Floats1& look, int ambient_rays, uint32_t seed) {
  require(camera.shape(0) == 18, "camera: expected 18 values");
  require(look.shape(0) == 9, "look: expected 9 values");
  require(ambient_rays > 0, "ambient_rays must be positive");
  const sim::Camera c = sim::Camera::from(camera.data());
  require(c.width >= 16 && c.height >= 16 && c.width <= 8192 && c.height <= 8192,
          "camera: size out of range");
  const sim::Look l{
      {look(0), look(1), look(2)}, look(3), look(4), look(5), look(6), look(7), look(8)};
  nb::gil_scoped_release release;
  return std::make_shared<sim::View>(std::move(scenery), c, l, ambient_rays, seed);
}

using Meshes = std::vector<std::shared_ptr<sim::Mesh>>;

nb::tuple render_all(const sim::View& view, const Meshes& meshes, const Floats3& poses,
                     uint32_t noise_seed, bool want_ids, bool want_parts) {
  require(poses.shape(0) == meshes.size() && poses.shape(2) == 12,
          "poses: expected (people, bones, 12)");
  require(meshes.size() < 255, "at most 254 people in one picture");
  const size_t w = static_cast<size_t>(view.camera().width),
               h = static_cast<size_t>(view.camera().height);
  std::vector<const sim::Mesh*> raw;
  std::vector<const sim::Affine*> bones;
  static_assert(sizeof(sim::Affine) == 12 * sizeof(float));
  for (size_t i = 0; i < meshes.size(); ++i) {
    require(meshes[i] && meshes[i]->bones == poses.shape(1),
            "poses: number of bones differs from the mesh");
    raw.push_back(meshes[i].get());
    bones.push_back(reinterpret_cast<const sim::Affine*>(poses.data() + i * poses.shape(1) * 12));
  }
  auto* bgr = new uint8_t[w * h * 3];
  nb::capsule bgr_owner(bgr, [](void* p) noexcept { delete[] static_cast<uint8_t*>(p); });
  uint8_t* ids = want_ids ? new uint8_t[w * h] : nullptr;
  nb::capsule ids_owner(ids ? ids : new uint8_t[1],
                        [](void* p) noexcept { delete[] static_cast<uint8_t*>(p); });
  uint8_t* parts = want_parts ? new uint8_t[w * h] : nullptr;
  nb::capsule parts_owner(parts ? parts : new uint8_t[1],
                          [](void* p) noexcept { delete[] static_cast<uint8_t*>(p); });
  std::vector<sim::Truth> truth;
  {
    nb::gil_scoped_release release;
    truth = view.render(raw, bones, noise_seed, bgr, ids, parts);
  }
  constexpr size_t kColumns = 11;
  auto* rows = new int32_t[std::max<size_t>(truth.size(), 1) * kColumns];
  nb::capsule rows_owner(rows, [](void* p) noexcept { delete[] static_cast<int32_t*>(p); });
  for (size_t i = 0; i < truth.size(); ++i) {
    int32_t* r = rows + i * kColumns;
    std::copy(truth[i].amodal, truth[i].amodal + 4, r);
    std::copy(truth[i].visible, truth[i].visible + 4, r + 4);
    r[8] = truth[i].amodal_pixels, r[9] = truth[i].inside_pixels, r[10] = truth[i].visible_pixels;
  }
  nb::object id_image = nb::none();
  if (ids)
    id_image = nb::cast(nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>>(ids, {h, w}, ids_owner));
  nb::object part_image = nb::none();
  if (parts)
    part_image = nb::cast(nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>>(parts, {h, w}, parts_owner));
  return nb::make_tuple(
      nb::ndarray<nb::numpy, uint8_t, nb::ndim<3>>(bgr, {h, w, 3}, bgr_owner),
      nb::ndarray<nb::numpy, int32_t, nb::ndim<2>>(rows, {truth.size(), kColumns}, rows_owner),
      id_image, part_image);
}

nb::tuple render(const sim::View& view, const Meshes& meshes, const Floats3& poses,
                 uint32_t noise_seed, bool want_ids) {
  const nb::tuple all = render_all(view, meshes, poses, noise_seed, want_ids, false);
  return nb::make_tuple(all[0], all[1], all[2]);
}

nb::tuple render_parts(const sim::View& view, const Meshes& meshes, const Floats3& poses,
                       uint32_t noise_seed) {
  return render_all(view, meshes, poses, noise_seed, true, true);
}

}  // namespace

NB_MODULE(_raster, m) {
  m.doc() = "Software renderer of the simulated site.";
  nb::class_<sim::Mesh>(m, "Mesh");
  nb::class_<sim::Scenery>(m, "Scenery");
  nb::class_<sim::View>(m, "View")
      .def("render", &render, nb::arg("meshes"), nb::arg("poses"), nb::arg("noise_seed"),
           nb::arg("want_ids") = false)
      .def("render_parts", &render_parts, nb::arg("meshes"), nb::arg("poses"),
           nb::arg("noise_seed"));
  m.def("make_mesh", &make_mesh, nb::arg("rest"), nb::arg("texture"), nb::arg("cut"),
        nb::arg("shade"), nb::arg("bone"), nb::arg("weight"), nb::arg("triangle"),
        nb::arg("material_of"), nb::arg("materials"), nb::arg("bones"));
  m.def("make_scenery", &make_scenery, nb::arg("corners"), nb::arg("material_of"),
        nb::arg("materials"), nb::arg("lamps"), nb::arg("sky"), nb::arg("ground"));
  m.def("make_view", &make_view, nb::arg("scenery"), nb::arg("camera"), nb::arg("look"),
        nb::arg("ambient_rays"), nb::arg("seed"));
}
