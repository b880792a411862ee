// The still part of a view, ray-traced once: light that people cannot block, light that they can,
// and a depth for each of the four samples of a pixel.
#pragma once
#include <vector>

#include "bvh.h"
#include "camera.h"
#include "material.h"

namespace crosscam::sim {

constexpr int kGrid = 2;  // samples per pixel side

struct Lamp {     // rectangle that shines, or a distant sun when `half` is zero
  Vec3 position;  // centre; for a sun the direction towards it
  Vec3 half;      // half extents (x, y) of the rectangle
  Vec3 colour;    // radiance scale
  bool sun;
};

struct Lighting {
  std::vector<Lamp> lamps;
  Vec3 sky;     // ambient from above
  Vec3 ground;  // ambient from below
};

struct Backdrop {
  std::vector<Vec3> ambient, direct;  // per pixel, linear
  std::vector<float> depth;           // per sample, row-major over (H * kGrid, W * kGrid)
};

struct Scenery {
  Bvh bvh;
  std::vector<int> material_of;
  std::vector<Material> materials;
  Lighting light;
};

// Light that reaches `point` directly, without what people block.
Vec3 direct_light(const Scenery& scenery, const Vec3& point, const Vec3& normal, int rays,
                  uint32_t seed);

Backdrop trace(const Scenery& scenery, const Camera& camera, int ambient_rays, uint32_t seed);

}  // namespace crosscam::sim
