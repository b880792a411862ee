#include "material.h"

namespace crosscam::sim {
namespace {

// Two coordinates in the plane of the surface, by the dominant axis of the normal.
void plane(const Vec3& p, const Vec3& n, float& u, float& v) {
  const float ax = std::fabs(n.x), ay = std::fabs(n.y), az = std::fabs(n.z);
  if (az >= ax && az >= ay) {
    u = p.x, v = p.y;
  } else if (ax >= ay) {
    u = p.y, v = p.z;
  } else {
    u = p.x, v = p.z;
  }
}

float grout(float u, float size, float width) {
  const float d = std::fabs(fract(u / size) - 0.5f) * size;  // 0.5 size at the joint
  return smoothstep(0.5f * size - width, 0.5f * size - 0.4f * width, d);
}

float blob(float du, float dv, float ru, float rv) {
  return 1.0f - smoothstep(0.7f, 1.15f, std::sqrt(du * du / (ru * ru) + dv * dv / (rv * rv)));
}

Vec3 face(const Material& m, const Vec3& p, const Vec3& n) {
  Vec3 c = m.c0 * (0.94f + 0.12f * noise(p * 45.0f, m.seed));
  const Vec3 q = p - m.offset;  // x forward, y left, z up, metres from between the eyes
  if (q.x < -0.06f || n.x < 0.05f) return c;
  const float y = std::fabs(q.y);
  const Vec3 dark = m.c2;
  c = mix(c, m.c0 * 0.62f, 0.6f * blob(y - 0.032f, q.z + 0.001f, 0.021f, 0.015f));  // socket
  c = mix(c, {0.55f, 0.52f, 0.48f}, 0.8f * blob(y - 0.031f, q.z, 0.013f, 0.0055f));
  c = mix(c, dark * 0.5f, blob(y - 0.031f, q.z, 0.006f, 0.006f));
  c = mix(c, dark, 0.85f * blob(y - 0.034f, q.z - 0.022f, 0.021f, 0.006f));  // brow
  c = mix(c, m.c1, 0.8f * blob(q.y, q.z + 0.073f, 0.024f, 0.009f));          // lips
  c = mix(c, m.c0 * 0.5f, 0.8f * blob(q.y, q.z + 0.0725f, 0.022f, 0.002f));
  c = mix(c, m.c0 * 0.6f, 0.5f * blob(y - 0.009f, q.z + 0.044f, 0.006f, 0.004f));  // nostrils
  c = mix(c, Vec3{c.x * 1.12f, c.y * 0.9f, c.z * 0.9f},
          0.7f * blob(y - 0.045f, q.z + 0.04f, 0.02f, 0.018f));
  if (m.a > 0) {  // beard
    const float jaw = smoothstep(-0.050f, -0.062f, q.z) * smoothstep(-0.05f, -0.02f, q.x);
    const float mouth = blob(q.y, q.z + 0.073f, 0.022f, 0.008f);
    const float lip = blob(q.y, q.z + 0.057f, 0.03f, 0.007f);
    c = mix(c, dark, m.a * std::max(jaw * (1 - mouth), lip));
  }
  return c;
}

}  // namespace

Vec3 albedo(const Material& m, const Vec3& p, const Vec3& n) {
  float u, v;
  switch (m.pattern) {
    case Pattern::kPlain:
      return m.c0;
    case Pattern::kStripesZ: {
      const float t = fract((p.z + m.offset.z) / m.a);
      return mix(m.c0, m.c1, smoothstep(m.b, m.b + 0.06f, t) * (1 - smoothstep(0.94f, 1.0f, t)));
    }
    case Pattern::kStripesY: {
      const float t = fract((p.y + m.offset.y) / m.a);
      return mix(m.c0, m.c1, smoothstep(m.b, m.b + 0.08f, t) * (1 - smoothstep(0.92f, 1.0f, t)));
    }
    case Pattern::kChecks: {
      plane(p, {std::fabs(n.x) + 0.3f, n.y, 0.0f}, u, v);
      const float s = fract(u / m.a) < m.b ? 1.0f : 0.0f, t = fract(v / m.a) < m.b ? 1.0f : 0.0f;
      Vec3 c = mix(m.c0, m.c1, 0.5f * (s + t));
      const float line = std::max(fract(u / m.a + 0.22f) < 0.06f, fract(v / m.a + 0.22f) < 0.06f);
      return mix(c, m.c2, 0.7f * line);
    }
    case Pattern::kTiles: {
      plane(p, n, u, v);
      const int i = static_cast<int>(floor_fast(u / m.a + 0.0f)),
                j = static_cast<int>(floor_fast(v / m.a));
      const float shade = 0.9f + 0.2f * unit(hash3(i, j, 0, m.seed));
      const float g = std::max(grout(u + 0.5f * m.a, m.a, m.b), grout(v + 0.5f * m.a, m.a, m.b));
      const float vein = noise(p * 7.0f, m.seed) * 0.6f + noise(p * 31.0f, m.seed) * 0.4f;
      return mix(mix(m.c0, m.c2, 0.35f * vein) * shade, m.c1, g);
    }
    case Pattern::kPlanks: {
      plane(p, n, u, v);
      const int j = static_cast<int>(floor_fast(v / m.a));
      const float along = u + 3.7f * unit(hash3(j, 1, 2, m.seed));
      const int i = static_cast<int>(floor_fast(along / m.b));
      const float tone = unit(hash3(i, j, 3, m.seed));
      const float grain = noise({u * 2.5f, v * 60.0f, p.z * 9.0f + tone * 20}, m.seed);
      const Vec3 c = mix(m.c0, m.c1, 0.55f * tone + 0.35f * grain);
      const float gap =
          std::max(grout(v + 0.5f * m.a, m.a, 0.006f), grout(along + 0.5f * m.b, m.b, 0.005f));
      return mix(c, c * 0.35f, gap);
    }
    case Pattern::kMottled: {
      const Vec3 q = p * (1.0f / m.a);
      const float t = 0.45f * noise(q, m.seed) + 0.3f * noise(q * 4.1f, m.seed + 1) +
                      0.25f * noise(q * 17.0f, m.seed + 2);
      return mix(m.c0, m.c1, smoothstep(0.2f, 0.8f, t));
    }
    case Pattern::kBricks: {
      plane(p, n, u, v);
      const int j = static_cast<int>(floor_fast(v / m.b));
      const float shifted = u + (j & 1 ? 0.5f * m.a : 0.0f);
      const int i = static_cast<int>(floor_fast(shifted / m.a));
      const float g =
          std::max(grout(shifted + 0.5f * m.a, m.a, 0.012f), grout(v + 0.5f * m.b, m.b, 0.012f));
      const Vec3 c =
          mix(m.c0, m.c1, unit(hash3(i, j, 5, m.seed))) * (0.85f + 0.3f * noise(p * 40.0f, m.seed));
      return mix(c, m.c2, g);
    }
    case Pattern::kGoods: {
      plane(p, n, u, v);
      const int j = static_cast<int>(floor_fast(v / m.b));
      const float width = m.a * (0.7f + 0.6f * unit(hash3(j, 9, 1, m.seed)));
      const int i = static_cast<int>(floor_fast(u / width));
      const float top = 0.55f + 0.35f * unit(hash3(i / 3, j, 8, m.seed));
      const float fu = fract(u / width), fv = fract(v / m.b);
      if (fv > top || fu < 0.04f || fu > 0.96f) return m.c0 * (fv > 0.93f ? 1.6f : 0.35f);
      const uint32_t h = hash3(i / 3, j, 7, m.seed);
      Vec3 c = mix(m.c1, m.c2, unit(h));
      const float hue = unit(hash(h)) * 6.0f;
      const Vec3 pure{clamp01(std::fabs(hue - 3) - 1), clamp01(2 - std::fabs(hue - 2)),
                      clamp01(2 - std::fabs(hue - 4))};
      c = mix(c, pure * 0.7f, 0.55f);
      if (fv > 0.3f * top && fv < 0.62f * top) c = mix(c, {0.8f, 0.8f, 0.76f}, 0.6f);
      return c;
    }
    case Pattern::kDenim: {
      const float weave = noise({p.x * 160, p.y * 160, p.z * 420}, m.seed);
      const float fade = noise(p * 9.0f, m.seed + 3);
      return mix(m.c0, m.c1, 0.45f * fade + 0.3f * weave);
    }
    case Pattern::kDots: {
      const Vec3 q = p * (1.0f / m.a);
      const int i = static_cast<int>(floor_fast(q.y + 0.3f * q.x)),
                k = static_cast<int>(floor_fast(q.z));
      const uint32_t h = hash3(i, 0, k, m.seed);
      const float du = fract(q.y + 0.3f * q.x) - 0.3f - 0.4f * unit(h),
                  dv = fract(q.z) - 0.3f - 0.4f * unit(hash(h));
      const Vec3 ink = (h & 1) ? m.c1 : m.c2;
      return mix(m.c0, ink, blob(du, dv, m.b, m.b));
    }
    case Pattern::kLogo: {
      const float y = p.y - m.offset.y, z = p.z - m.offset.z;
      if (p.x < m.offset.x) return m.c0;
      const bool inside =
          (m.seed & 1) ? (y * y + z * z < m.a * m.a) : (std::fabs(y) < m.a && std::fabs(z) < m.b);
      if (!inside) return m.c0;
      const bool detail =
          (m.seed & 2) ? fract(z / (0.45f * m.b)) < 0.4f : std::fabs(y) < 0.35f * m.a;
      return detail ? m.c2 : m.c1;
    }
    case Pattern::kBlock:
      return mix(m.c1, m.c0, smoothstep(-0.004f, 0.004f, p.z - m.offset.z));
    case Pattern::kFace:
      return face(m, p, n);
    case Pattern::kHair: {
      const float strand = noise({p.x * 130, p.y * 130, p.z * 16}, m.seed);
      return mix(m.c0, m.c1, strand);
    }
    case Pattern::kJacket: {
      if (p.x < m.offset.x) return m.c0;
      const float y = std::fabs(p.y);
      if (y < m.a) return y > m.a - 0.008f ? m.c0 * 0.45f : m.c1;
      if (y < m.a + 0.035f && p.z > m.offset.z) return m.c0 * 0.75f;  // lapel
      return mix(m.c0, m.c2, blob(y - 0.5f * m.b, p.z - m.offset.y, 0.05f, 0.012f) * 0.6f);
    }
    case Pattern::kWindows: {
      plane(p, n, u, v);
      const float fu = fract(u / m.a), fv = fract(v / m.b);
      const int i = static_cast<int>(floor_fast(u / m.a)),
                j = static_cast<int>(floor_fast(v / m.b));
      const Vec3 wall =
          mix(m.c0, m.c1, noise(p * 2.3f, m.seed) * 0.5f + noise(p * 29.0f, m.seed) * 0.3f);
      if (fu < 0.25f || fu > 0.75f || fv < 0.3f || fv > 0.85f || v < m.offset.z) return wall;
      const bool frame =
          fu < 0.285f || fu > 0.715f || fv < 0.325f || fv > 0.825f || std::fabs(fu - 0.5f) < 0.012f;
      if (frame) return {0.6f, 0.6f, 0.58f};
      return m.c2 * (0.5f + unit(hash3(i, j, 4, m.seed)) + 0.6f * fv);
    }
    case Pattern::kPrint: {
      if (m.seed & 1 ? p.x > m.offset.x : p.x < m.offset.x) return m.c0;
      const float y = (p.y - m.offset.y) / m.a, z = (p.z - m.offset.z) / m.b;
      if (std::fabs(y) > 1 || std::fabs(z) > 1) return m.c0;
      const uint32_t kind = m.seed >> 1 & 3;
      const uint32_t salt = m.seed >> 3;
      if (kind == 0) {  // lines of writing
        const float row = (z + 1) * 1.5f;
        const int j = static_cast<int>(floor_fast(row));
        const int i = static_cast<int>(floor_fast((y + 1) * 5.5f));
        if (fract(row) > 0.62f || std::fabs(y) > 0.55f + 0.45f * unit(hash3(j, 1, 4, salt)))
          return m.c0;
        return unit(hash3(i, j, 3, salt)) < 0.8f ? m.c1 : m.c0;
      }
      if (kind == 1) {  // a disc, a ring or a wedge with another in it
        const float r = std::sqrt(y * y + z * z);
        if (r > 1) return m.c0;
        if (salt & 1) return r < 0.55f ? m.c2 : m.c1;
        return std::fabs(y) < 0.75f * (1 - z) * 0.5f ? m.c2 : m.c1;
      }
      if (kind == 2) {  // a picture of random cells, the same on both sides
        const int i = static_cast<int>(std::fabs(y) * 3.0f);
        const int j = static_cast<int>(floor_fast((z + 1) * 3.0f));
        const float u = unit(hash3(i, j, 6, salt));
        return u < 0.4f ? m.c0 : u < 0.75f ? m.c1 : m.c2;
      }
      // A photograph: blotches in a frame.
      const float t = noise({y * 3.0f, 0.0f, z * 3.0f}, salt);
      return t > 0.55f ? m.c1 : t > 0.4f ? m.c2 : m.c1 * 0.4f + m.c2 * 0.3f;
    }
    case Pattern::kCamouflage: {
      const Vec3 q = p * (1.0f / m.a);
      if (noise({q.x, q.y, q.z * 1.6f}, m.seed) > 0.56f) return m.c1;
      if (noise({q.x * 1.2f + 9, q.y * 1.2f, q.z * 1.9f}, m.seed + 5) > 0.56f) return m.c2;
      return m.c0;
    }
    case Pattern::kSleeves:
      return mix(m.c0, m.c1, smoothstep(m.offset.y - 0.006f, m.offset.y + 0.006f, std::fabs(p.y)));
    case Pattern::kSides: {
      const float side = std::fabs(n.x) * m.a < std::fabs(n.y) && n.y * p.y > 0 ? 1.0f : 0.0f;
      return std::fabs(p.x - m.offset.x) < m.b * (1 + 0.5f * side) && side > 0 ? m.c1 : m.c0;
    }
    case Pattern::kAllover: {
      plane(p, {std::fabs(n.x) + 0.3f, n.y, 0.0f}, u, v);
      const int i = static_cast<int>(floor_fast(u / m.a)),
                k = static_cast<int>(floor_fast(v / m.a));
      const uint32_t h = hash3(i, 2, k, m.seed);
      if (unit(h) > m.b) return m.c0;
      const float du = fract(u / m.a) - 0.5f, dv = fract(v / m.a) - 0.5f;
      const float turn = 6.2832f * unit(hash(h + 1));
      const float a = du * std::cos(turn) + dv * std::sin(turn),
                  b = dv * std::cos(turn) - du * std::sin(turn);
      return mix(m.c0, (h >> 9 & 1) ? m.c1 : m.c2,
                 blob(a, b, 0.42f, 0.16f + 0.2f * unit(hash(h + 2))));
    }
  }
  return m.c0;
}

Vec3 perturb(const Material& m, const Vec3& p, const Vec3& n) {
  if (m.bump <= 0) return n;
  // Folds run mostly downwards and get tighter with height differences: stretch the noise in z.
  const float size = m.fold > 0 ? m.fold : 0.02f;
  const Vec3 q{p.x / size, p.y / size, p.z / (m.fold > 0 ? 0.65f * size : size)};
  const float e = 0.25f;
  const float h0 = noise(q, m.seed + 11);
  const float hx = noise({q.x + e, q.y, q.z}, m.seed + 11) - h0;
  const float hy = noise({q.x, q.y + e, q.z}, m.seed + 11) - h0;
  const float hz = noise({q.x, q.y, q.z + e}, m.seed + 11) - h0;
  return normalize(n - Vec3{hx, hy, hz} * (m.bump / e));
}

}  // namespace crosscam::sim
