#include "people.h"

#include <limits>

#include "backdrop.h"

namespace crosscam::sim {
namespace {
constexpr float kNear = 0.15f;
constexpr float kInf = std::numeric_limits<float>::infinity();
}  // namespace

Posed skin(const Mesh& mesh, const Affine* bones, const Camera& camera) {
  const size_t count = mesh.rest.size();
  Posed out;
  out.mesh = &mesh;
  out.world.resize(count);
  out.normal.assign(count, Vec3{});
  out.sx.resize(count);
  out.sy.resize(count);
  out.depth.resize(count);
  out.lo = {kInf, kInf, kInf};
  out.hi = {-kInf, -kInf, -kInf};
  for (size_t i = 0; i < count; ++i) {
    Affine blend{};
    for (int k = 0; k < 4; ++k) {
      const float w = mesh.weight[4 * i + k];
      if (w == 0) continue;
      const Affine& b = bones[mesh.bone[4 * i + k]];
      for (int j = 0; j < 12; ++j) blend.m[j] += w * b.m[j];
    }
    const Vec3 p = blend.point(mesh.rest[i]);
    out.world[i] = p;
    out.lo = {std::min(out.lo.x, p.x), std::min(out.lo.y, p.y), std::min(out.lo.z, p.z)};
    out.hi = {std::max(out.hi.x, p.x), std::max(out.hi.y, p.y), std::max(out.hi.z, p.z)};
    const Vec3 c = camera.pose.point(p);
    out.depth[i] = c.z;
    const float inv = 1.0f / std::max(c.z, 1e-3f);
    const auto bounded = [](float v) { return std::min(std::max(v, -1e6f), 1e6f); };
    out.sx[i] = bounded((camera.fx * c.x * inv + camera.cx) * kGrid);
    out.sy[i] = bounded((camera.fy * c.y * inv + camera.cy) * kGrid);
  }
  for (size_t t = 0; t < mesh.material_of.size(); ++t) {
    const int* v = &mesh.triangle[3 * t];
    const Vec3 n = cross(out.world[v[1]] - out.world[v[0]], out.world[v[2]] - out.world[v[0]]);
    for (int k = 0; k < 3; ++k) out.normal[v[k]] += n;
  }
  for (Vec3& n : out.normal) n = normalize(n);
  return out;
}

void cover(const Posed& person, int x_lo, int y_lo, int x_hi, int y_hi, Coverage& out) {
  const Mesh& mesh = *person.mesh;
  float bx0 = kInf, by0 = kInf, bx1 = -kInf, by1 = -kInf;
  for (size_t i = 0; i < person.sx.size(); ++i) {
    if (person.depth[i] < kNear) continue;
    bx0 = std::min(bx0, person.sx[i]);
    bx1 = std::max(bx1, person.sx[i]);
    by0 = std::min(by0, person.sy[i]);
    by1 = std::max(by1, person.sy[i]);
  }
  const auto clip = [](float v, int lo, int hi) {
    return static_cast<int>(std::min(std::max(v, static_cast<float>(lo)), static_cast<float>(hi)));
  };
  // Whole pixels, so that the samples of a pixel are together.
  out.x0 = clip(floor_fast(bx0), x_lo, x_hi) / kGrid * kGrid - (bx0 < 0 ? kGrid : 0);
  out.y0 = clip(floor_fast(by0), y_lo, y_hi) / kGrid * kGrid - (by0 < 0 ? kGrid : 0);
  out.w = (std::max(clip(ceil_fast(bx1), x_lo, x_hi) - out.x0, 0) + kGrid) / kGrid * kGrid;
  out.h = (std::max(clip(ceil_fast(by1), y_lo, y_hi) - out.y0, 0) + kGrid) / kGrid * kGrid;
  if (!(bx1 >= bx0)) out.w = out.h = 0;
  out.depth.assign(static_cast<size_t>(out.w) * out.h, kInf);
  out.triangle.assign(out.depth.size(), -1);
  for (size_t t = 0; t < mesh.material_of.size(); ++t) {
    const int* v = &mesh.triangle[3 * t];
    const float z0 = person.depth[v[0]], z1 = person.depth[v[1]], z2 = person.depth[v[2]];
    if (z0 < kNear || z1 < kNear || z2 < kNear) continue;
    const float c0 = mesh.cut[v[0]], c1 = mesh.cut[v[1]], c2 = mesh.cut[v[2]];
    if (c0 > 0 && c1 > 0 && c2 > 0) continue;
    const float x0 = person.sx[v[0]], y0 = person.sy[v[0]];
    const float x1 = person.sx[v[1]], y1 = person.sy[v[1]];
    const float x2 = person.sx[v[2]], y2 = person.sy[v[2]];
    const float area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0);
    if (std::fabs(area) < 1e-9f) continue;
    const int left = std::max(static_cast<int>(floor_fast(std::min({x0, x1, x2}) - 0.5f)), out.x0);
    const int right =
        std::min(static_cast<int>(ceil_fast(std::max({x0, x1, x2}) + 0.5f)), out.x0 + out.w);
    const int top = std::max(static_cast<int>(floor_fast(std::min({y0, y1, y2}) - 0.5f)), out.y0);
    const int bottom =
        std::min(static_cast<int>(ceil_fast(std::max({y0, y1, y2}) + 0.5f)), out.y0 + out.h);
    const float inv = 1.0f / area;
    const float iz0 = 1 / z0, iz1 = 1 / z1, iz2 = 1 / z2;
    const bool cuts = c0 > 0 || c1 > 0 || c2 > 0;
    for (int y = top; y < bottom; ++y) {
      const float py = static_cast<float>(y) + 0.5f;
      const size_t row = static_cast<size_t>(y - out.y0) * out.w;
      for (int x = left; x < right; ++x) {
        const float px = static_cast<float>(x) + 0.5f;
        const float w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * inv;
        const float w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * inv;
        const float w2 = 1 - w0 - w1;
        if (w0 < 0 || w1 < 0 || w2 < 0) continue;
        const float depth = 1 / (w0 * iz0 + w1 * iz1 + w2 * iz2);
        const size_t i = row + (x - out.x0);
        if (depth >= out.depth[i]) continue;
        if (cuts && (w0 * iz0 * c0 + w1 * iz1 * c1 + w2 * iz2 * c2) > 0) continue;
        out.depth[i] = depth;
        out.triangle[i] = static_cast<int>(t);
      }
    }
  }
}

Vec3 barycentric(const Posed& person, int triangle, float x, float y) {
  const int* v = &person.mesh->triangle[3 * static_cast<size_t>(triangle)];
  const float x0 = person.sx[v[0]], y0 = person.sy[v[0]];
  const float x1 = person.sx[v[1]], y1 = person.sy[v[1]];
  const float x2 = person.sx[v[2]], y2 = person.sy[v[2]];
  const float inv = 1.0f / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0));
  float a = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) * inv;
  float b = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) * inv;
  float c = 1 - a - b;
  a /= person.depth[v[0]];
  b /= person.depth[v[1]];
  c /= person.depth[v[2]];
  const float sum = a + b + c;
  return {a / sum, b / sum, c / sum};
}

ShadowMap::ShadowMap(const Posed& person, const Vec3& to_light, float softness)
    : axis_(normalize(to_light)), softness_(softness) {
  u_ = normalize(std::fabs(axis_.z) < 0.95f ? cross(axis_, {0, 0, 1}) : cross(axis_, {1, 0, 0}));
  v_ = cross(axis_, u_);
  float u1 = -kInf, v1 = -kInf;
  u0_ = v0_ = kInf;
  const size_t count = person.world.size();
  std::vector<float> u(count), v(count), h(count);
  for (size_t i = 0; i < count; ++i) {
    u[i] = dot(person.world[i], u_);
    v[i] = dot(person.world[i], v_);
    h[i] = dot(person.world[i], axis_);
    u0_ = std::min(u0_, u[i]), u1 = std::max(u1, u[i]);
    v0_ = std::min(v0_, v[i]), v1 = std::max(v1, v[i]);
    top_ = std::max(top_, h[i]);
  }
  w_ = static_cast<int>((u1 - u0_) / kTexel) + 2;
  h_ = static_cast<int>((v1 - v0_) / kTexel) + 2;
  height_.assign(static_cast<size_t>(w_) * h_, -kInf);
  const Mesh& mesh = *person.mesh;
  for (size_t t = 0; t < mesh.material_of.size(); ++t) {
    const int* k = &mesh.triangle[3 * t];
    if (mesh.cut[k[0]] > 0 && mesh.cut[k[1]] > 0 && mesh.cut[k[2]] > 0) continue;
    // Triangles are about a texel: splat corners and centre instead of scan conversion.
    const float cu = (u[k[0]] + u[k[1]] + u[k[2]]) / 3, cv = (v[k[0]] + v[k[1]] + v[k[2]]) / 3;
    const float ch = (h[k[0]] + h[k[1]] + h[k[2]]) / 3;
    for (int j = 0; j < 4; ++j) {
      const float pu = j < 3 ? 0.5f * (u[k[j]] + cu) : cu, pv = j < 3 ? 0.5f * (v[k[j]] + cv) : cv;
      const int x = static_cast<int>((pu - u0_) / kTexel),
                y = static_cast<int>((pv - v0_) / kTexel);
      float& cell = height_[static_cast<size_t>(y) * w_ + x];
      cell = std::max(cell, ch);
    }
  }
}

float ShadowMap::blocked(const Vec3& point) const {
  const float pu = (dot(point, u_) - u0_) / kTexel, pv = (dot(point, v_) - v0_) / kTexel;
  const float ph = dot(point, axis_);
  // A fixed penumbra: lamps differ in softness, distances inside one room hardly do.
  const float radius = std::min(1.0f + softness_ * 12.0f, 16.0f);
  if (pu < -radius || pv < -radius || pu > static_cast<float>(w_) + radius ||
      pv > static_cast<float>(h_) + radius || ph > top_)
    return 0;
  constexpr float kTaps[12][2] = {{0.f, 0.2f},    {0.5f, 0.1f}, {-0.45f, 0.15f}, {0.1f, -0.5f},
                                  {-0.1f, 0.6f},  {0.8f, 0.5f}, {-0.8f, 0.45f},  {0.55f, -0.7f},
                                  {-0.6f, -0.6f}, {0.3f, 0.9f}, {-0.3f, -0.95f}, {0.95f, -0.2f}};
  float sum = 0;
  for (const auto& tap : kTaps) {
    const int x = static_cast<int>(floor_fast(pu + tap[0] * radius)),
              y = static_cast<int>(floor_fast(pv + tap[1] * radius));
    if (x < 0 || y < 0 || x >= w_ || y >= h_) continue;
    sum += smoothstep(0.05f, 0.09f, height_[static_cast<size_t>(y) * w_ + x] - ph);
  }
  return sum / 12.0f;
}

}  // namespace crosscam::sim
