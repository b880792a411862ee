// Skinned people: rest meshes, linear-blend skinning and a coverage raster for one person.
#pragma once
#include <vector>

#include "camera.h"
#include "material.h"

namespace crosscam::sim {

struct Mesh {
  std::vector<Vec3> rest;     // metres, person frame (x forward, y left, z up)
  std::vector<Vec3> texture;  // where materials are evaluated
  std::vector<float> cut;     // a fragment is dropped where the interpolated value is positive
  std::vector<float> shade;   // baked ambient occlusion, 1 = open
  std::vector<uint8_t> bone;  // 4 per vertex
  std::vector<float> weight;  // 4 per vertex
  std::vector<int> triangle;  // 3 per triangle
  std::vector<uint8_t> material_of;
  std::vector<Material> materials;
  size_t bones = 0;
};

// A person in the world at one instant, seen by one camera.
struct Posed {
  const Mesh* mesh = nullptr;
  std::vector<Vec3> world, normal;   // per vertex
  std::vector<float> sx, sy, depth;  // projected, in samples
  Vec3 lo, hi;                       // world bounds
};

// Local buffer of one person's nearest surface, in samples; covers [x0, x0 + w) x [y0, y0 + h).
struct Coverage {
  int x0 = 0, y0 = 0, w = 0, h = 0;
  std::vector<float> depth;
  std::vector<int> triangle;  // -1: nothing
};

Posed skin(const Mesh& mesh, const Affine* bones, const Camera& camera);

// Rasterise into `out`, clipped to the sample rectangle [x_lo, x_hi) x [y_lo, y_hi).
void cover(const Posed& person, int x_lo, int y_lo, int x_hi, int y_hi, Coverage& out);

// Perspective-correct barycentric coordinates of a sample centre in a triangle.
Vec3 barycentric(const Posed& person, int triangle, float x, float y);

// Depth of a person seen from a light; used to ask how much of it they block.
class ShadowMap {
 public:
  ShadowMap(const Posed& person, const Vec3& to_light, float softness);
  // 0 = open, 1 = blocked.
  float blocked(const Vec3& point) const;
  const Vec3& to_light() const { return axis_; }

 private:
  static constexpr float kTexel = 0.025f;
  Vec3 axis_, u_, v_;
  float u0_ = 0, v0_ = 0, softness_;
  float top_ = -1e30f;  // nothing above it can be in the shadow
  int w_ = 0, h_ = 0;
  std::vector<float> height_;  // along `axis_`; -inf: nothing
};

}  // namespace crosscam::sim
