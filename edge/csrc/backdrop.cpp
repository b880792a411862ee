#include "backdrop.h"

#include <limits>

namespace crosscam::sim {
namespace {

constexpr float kFar = 1e4f;
constexpr float kReach = 3.0f;  // metres: how far ambient occlusion looks
constexpr float kPi = 3.14159265f;

void basis(const Vec3& n, Vec3& t, Vec3& b) {
  t = normalize(std::fabs(n.z) < 0.9f ? cross(n, {0, 0, 1}) : cross(n, {1, 0, 0}));
  b = cross(n, t);
}

Vec3 sky_light(const Lighting& light, const Vec3& d) {
  return mix(light.ground, light.sky, 0.5f + 0.5f * d.z);
}

struct Sample {
  Vec3 albedo, point, normal;
  float emission = 0;
  bool hit = false;
};

// Cosine-weighted rays: open ones see the sky colour, closed ones the colour of what they meet.
Vec3 ambient_light(const Scenery& s, const Sample& at, int rays, uint32_t seed) {
  Vec3 t, b, sum;
  basis(at.normal, t, b);
  for (int i = 0; i < rays; ++i) {
    const uint32_t h = hash(seed + 977u * static_cast<uint32_t>(i));
    const float u = (static_cast<float>(i) + unit(h)) / static_cast<float>(rays);
    const float phi = 2 * kPi * unit(hash(h + 1)), r = std::sqrt(u);
    const Vec3 d = t * (r * std::cos(phi)) + b * (r * std::sin(phi)) + at.normal * std::sqrt(1 - u);
    const Hit hit = s.bvh.nearest({at.point + at.normal * 2e-3f, d, kReach});
    if (hit.triangle < 0) {
      sum += sky_light(s.light, d);
      continue;
    }
    const Material& m = s.materials[s.material_of[hit.triangle]];
    const float open = hit.t / kReach;  // far walls darken little: they are lit themselves
    sum += sky_light(s.light, d) * mix(mix({1, 1, 1}, m.c0, 0.5f) * 0.42f, {1, 1, 1}, open * open);
  }
  return sum * (1.0f / static_cast<float>(rays));
}

}  // namespace

Vec3 direct_light(const Scenery& s, const Vec3& point, const Vec3& normal, int rays,
                  uint32_t seed) {
  Vec3 total;
  const Vec3 from = point + normal * 3e-3f;
  for (size_t k = 0; k < s.light.lamps.size(); ++k) {
    const Lamp& lamp = s.light.lamps[k];
    float sum = 0;
    const int tries = lamp.sun ? 4 * rays : rays;
    for (int i = 0; i < tries; ++i) {
      const uint32_t h =
          hash(seed + 7919u * static_cast<uint32_t>(i) + 104729u * static_cast<uint32_t>(k));
      const float u = 2 * unit(h) - 1, v = 2 * unit(hash(h + 5)) - 1;
      if (lamp.sun) {
        const Vec3 d = normalize(lamp.position + Vec3{u, v, 0} * 0.012f);
        const float c = dot(normal, d);
        if (c > 0 && !s.bvh.occluded({from, d, kFar})) sum += c;
      } else {
        const Vec3 to = lamp.position + Vec3{u * lamp.half.x, v * lamp.half.y, 0} - from;
        const float distance = length(to);
        const Vec3 d = to * (1.0f / distance);
        const float c = dot(normal, d), e = d.z;  // lamps face down
        if (c <= 0 || e <= 0) continue;
        const float power = c * e / (1.0f + distance * distance);
        if (power * lamp.colour.y < 0.006f) continue;  // too weak to see
        if (!s.bvh.occluded({from, d, distance - 0.02f})) sum += power;
      }
    }
    total += lamp.colour * (sum / static_cast<float>(tries));
  }
  return total;
}

Backdrop trace(const Scenery& scenery, const Camera& camera, int ambient_rays, uint32_t seed) {
  const int w = camera.width, h = camera.height;
  Backdrop out;
  out.ambient.resize(static_cast<size_t>(w) * h);
  out.direct.resize(out.ambient.size());
  out.depth.resize(out.ambient.size() * kGrid * kGrid);
  std::vector<Vec3> shade(out.ambient.size()), normals(out.ambient.size()),
      bright(out.ambient.size());
  const Vec3 eye = camera.centre();
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const size_t i = static_cast<size_t>(y) * w + x;
      Vec3 colour, glow;
      Sample first;
      for (int sy = 0; sy < kGrid; ++sy) {
        for (int sx = 0; sx < kGrid; ++sx) {
          const Vec3 ray =
              camera.ray(static_cast<float>(x) + (static_cast<float>(sx) + 0.5f) / kGrid,
                         static_cast<float>(y) + (static_cast<float>(sy) + 0.5f) / kGrid);
          const Hit hit = scenery.bvh.nearest({eye, ray, kFar});
          const size_t row = static_cast<size_t>(y) * kGrid + sy;
          out.depth[row * (static_cast<size_t>(w) * kGrid) + static_cast<size_t>(x) * kGrid + sx] =
              hit.triangle < 0 ? kFar : hit.t;
          if (hit.triangle < 0) {  // sky
            const float up = clamp01(normalize(ray).z * 2.2f + 0.1f);
            glow += mix({0.80f, 0.84f, 0.88f}, {0.42f, 0.58f, 0.85f}, up);
            continue;
          }
          const Material& m = scenery.materials[scenery.material_of[hit.triangle]];
          Vec3 n = scenery.bvh.normal(hit.triangle);
          if (dot(n, ray) > 0) n = n * -1.0f;
          const Vec3 p = eye + ray * hit.t;
          const Vec3 c = albedo(m, p, n);
          colour += c * (1 - m.emission);
          glow += c * (m.emission * 1.6f);
          if (!first.hit) first = {c, p, perturb(m, p, n), m.emission, true};
        }
      }
      constexpr float kEach = 1.0f / (kGrid * kGrid);
      shade[i] = colour * kEach;
      if (first.hit) {
        const uint32_t pixel = hash(seed ^ hash(static_cast<uint32_t>(i)));
        out.ambient[i] = ambient_light(scenery, first, ambient_rays, pixel);
        out.direct[i] = direct_light(scenery, first.point, first.normal, 1, pixel + 17);
        normals[i] = first.normal;
      }
      bright[i] = glow * kEach;
    }
  }
  // Cross-bilateral filter: few rays per pixel, smoothed where normal and depth agree.
  const auto depth_at = [&](int x, int y) {
    return out.depth[static_cast<size_t>(y) * kGrid * w * kGrid + static_cast<size_t>(x) * kGrid];
  };
  std::vector<Vec3> ambient(out.ambient), direct(out.direct);
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const size_t i = static_cast<size_t>(y) * w + x;
      Vec3 a, d;
      float wa = 0, wd = 0;
      const float z = depth_at(x, y);
      for (int dy = -4; dy <= 4; ++dy) {
        for (int dx = -4; dx <= 4; ++dx) {
          const int u = std::min(std::max(x + dx, 0), w - 1),
                    v = std::min(std::max(y + dy, 0), h - 1);
          const size_t j = static_cast<size_t>(v) * w + u;
          if (dot(normals[i], normals[j]) < 0.95f) continue;  // sky has no normal
          if (std::fabs(depth_at(u, v) - z) > 0.03f * z) continue;
          const float r2 = static_cast<float>(dx * dx + dy * dy);
          const float k = std::exp(-r2 / 14.0f);
          a += ambient[j] * k;
          wa += k;
          if (r2 < 9) {
            d += direct[j] * k;
            wd += k;
          }
        }
      }
      out.ambient[i] = shade[i] * a * (1 / std::max(wa, 1e-6f)) + bright[i];
      out.direct[i] = shade[i] * d * (1 / std::max(wd, 1e-6f));
    }
  }
  return out;
}

}  // namespace crosscam::sim
