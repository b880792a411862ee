#include "bvh.h"

#include <limits>
#include <numeric>

namespace crosscam::sim {
namespace {

constexpr int kLeaf = 4;
constexpr float kEpsilon = 1e-7f;

Vec3 min3(const Vec3& a, const Vec3& b) {
  return {std::min(a.x, b.x), std::min(a.y, b.y), std::min(a.z, b.z)};
}
Vec3 max3(const Vec3& a, const Vec3& b) {
  return {std::max(a.x, b.x), std::max(a.y, b.y), std::max(a.z, b.z)};
}

bool box_hit(const Vec3& lo, const Vec3& hi, const Vec3& o, const Vec3& inv, float t_max) {
  const float x0 = (lo.x - o.x) * inv.x, x1 = (hi.x - o.x) * inv.x;
  const float y0 = (lo.y - o.y) * inv.y, y1 = (hi.y - o.y) * inv.y;
  const float z0 = (lo.z - o.z) * inv.z, z1 = (hi.z - o.z) * inv.z;
  const float near = std::max({std::min(x0, x1), std::min(y0, y1), std::min(z0, z1), 0.0f});
  const float far = std::min({std::max(x0, x1), std::max(y0, y1), std::max(z0, z1), t_max});
  return near <= far * 1.0001f;
}

float safe_inverse(float v) { return 1.0f / (std::fabs(v) < 1e-9f ? std::copysign(1e-9f, v) : v); }

}  // namespace

Bvh::Bvh(const float* corners, size_t count) : triangles_(count), order_(count) {
  for (size_t i = 0; i < count; ++i) {
    const float* c = corners + 9 * i;
    const Vec3 a{c[0], c[1], c[2]};
    Triangle& t = triangles_[i];
    t.a = a;
    t.e1 = Vec3{c[3], c[4], c[5]} - a;
    t.e2 = Vec3{c[6], c[7], c[8]} - a;
    t.normal = normalize(cross(t.e1, t.e2));
    t.index = static_cast<int>(i);
  }
  std::iota(order_.begin(), order_.end(), 0);
  nodes_.reserve(2 * count + 1);
  nodes_.emplace_back();
  build(0, 0, static_cast<int>(count));
}

void Bvh::build(int node, int first, int count) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  Vec3 lo{kInf, kInf, kInf}, hi{-kInf, -kInf, -kInf}, clo = lo, chi = hi;
  for (int i = first; i < first + count; ++i) {
    const Triangle& t = triangles_[order_[i]];
    const Vec3 b = t.a + t.e1, c = t.a + t.e2, mid = (t.a + b + c) * (1.0f / 3);
    lo = min3(lo, min3(t.a, min3(b, c)));
    hi = max3(hi, max3(t.a, max3(b, c)));
    clo = min3(clo, mid);
    chi = max3(chi, mid);
  }
  nodes_[node] = {lo, hi, first, count, 0};
  if (count <= kLeaf) return;
  const Vec3 extent = chi - clo;
  const int axis = extent.x >= extent.y && extent.x >= extent.z ? 0 : extent.y >= extent.z ? 1 : 2;
  const auto key = [&](int i) {
    const Triangle& t = triangles_[i];
    const Vec3 mid = t.a * 3.0f + t.e1 + t.e2;
    return axis == 0 ? mid.x : axis == 1 ? mid.y : mid.z;
  };
  const int half = count / 2;
  std::nth_element(order_.begin() + first, order_.begin() + first + half,
                   order_.begin() + first + count, [&](int a, int b) {
                     const float ka = key(a), kb = key(b);
                     return ka < kb || (ka == kb && a < b);  // a total order: same tree everywhere
                   });
  const int left = static_cast<int>(nodes_.size());
  nodes_.emplace_back();
  nodes_.emplace_back();
  nodes_[node].first = left;
  nodes_[node].count = 0;
  nodes_[node].axis = axis;
  build(left, first, half);
  build(left + 1, first + half, count - half);
}

template <bool kAny>
Hit Bvh::traverse(const Ray& ray) const {
  Hit best{ray.t_max, -1};
  if (triangles_.empty()) return best;
  const Vec3 inv{safe_inverse(ray.direction.x), safe_inverse(ray.direction.y),
                 safe_inverse(ray.direction.z)};
  int stack[64];
  int top = 0;
  stack[top++] = 0;
  while (top > 0) {
    const Node& node = nodes_[stack[--top]];
    if (!box_hit(node.lo, node.hi, ray.origin, inv, best.t)) continue;
    if (node.count == 0) {
      // The nearer child is visited first: left holds the smaller coordinates on its axis.
      const float along[3] = {ray.direction.x, ray.direction.y, ray.direction.z};
      const bool flip = along[node.axis] < 0;
      stack[top++] = node.first + (flip ? 0 : 1);
      stack[top++] = node.first + (flip ? 1 : 0);
      continue;
    }
    for (int i = node.first; i < node.first + node.count; ++i) {  // Moeller-Trumbore
      const Triangle& t = triangles_[order_[i]];
      const Vec3 p = cross(ray.direction, t.e2);
      const float det = dot(t.e1, p);
      if (std::fabs(det) < kEpsilon * 1e-3f) continue;
      const float f = 1.0f / det;
      const Vec3 s = ray.origin - t.a;
      const float u = f * dot(s, p);
      if (u < 0 || u > 1) continue;
      const Vec3 q = cross(s, t.e1);
      const float v = f * dot(ray.direction, q);
      if (v < 0 || u + v > 1) continue;
      const float d = f * dot(t.e2, q);
      if (d > 1e-4f && d < best.t) {
        best = {d, t.index};
        if constexpr (kAny) return best;
      }
    }
  }
  return best;
}

Hit Bvh::nearest(const Ray& ray) const { return traverse<false>(ray); }
bool Bvh::occluded(const Ray& ray) const { return traverse<true>(ray).triangle >= 0; }

}  // namespace crosscam::sim
