// Small vector maths for the renderer. World: metres, z up.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace crosscam::sim {

struct Vec3 {
  float x = 0, y = 0, z = 0;
  Vec3 operator+(const Vec3& o) const { return {x + o.x, y + o.y, z + o.z}; }
  Vec3 operator-(const Vec3& o) const { return {x - o.x, y - o.y, z - o.z}; }
  Vec3 operator*(const Vec3& o) const { return {x * o.x, y * o.y, z * o.z}; }
  Vec3 operator*(float s) const { return {x * s, y * s, z * s}; }
  Vec3& operator+=(const Vec3& o) {
    x += o.x, y += o.y, z += o.z;
    return *this;
  }
};

inline float dot(const Vec3& a, const Vec3& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec3 cross(const Vec3& a, const Vec3& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline float length(const Vec3& a) { return std::sqrt(dot(a, a)); }
inline Vec3 normalize(const Vec3& a) { return a * (1.0f / std::max(length(a), 1e-12f)); }
inline Vec3 mix(const Vec3& a, const Vec3& b, float t) { return a + (b - a) * t; }
inline float mix(float a, float b, float t) { return a + (b - a) * t; }
inline float clamp01(float v) { return std::min(std::max(v, 0.0f), 1.0f); }
inline float smoothstep(float lo, float hi, float v) {
  const float t = clamp01((v - lo) / (hi - lo));
  return t * t * (3 - 2 * t);
}
// Without SSE4.1 std::floor is a library call; |v| stays below 2^31 here.
inline float floor_fast(float v) {
  const float whole = static_cast<float>(static_cast<int>(v));
  return whole - static_cast<float>(whole > v);
}
inline float ceil_fast(float v) { return -floor_fast(-v); }
inline float fract(float v) { return v - floor_fast(v); }

inline uint32_t hash(uint32_t v) {
  v ^= v >> 16;
  v *= 0x7feb352dU;
  v ^= v >> 15;
  v *= 0x846ca68bU;
  v ^= v >> 16;
  return v;
}
inline uint32_t hash3(int x, int y, int z, uint32_t seed) {
  return hash(static_cast<uint32_t>(x) * 0x8da6b343U ^ static_cast<uint32_t>(y) * 0xd8163841U ^
              static_cast<uint32_t>(z) * 0xcb1ab31fU ^ seed * 0x9e3779b9U);
}
inline float unit(uint32_t h) { return static_cast<float>(h >> 8) * (1.0f / 16777216.0f); }

// Value noise in [0, 1], continuous, one octave.
inline float noise(const Vec3& p, uint32_t seed) {
  const float fx = floor_fast(p.x), fy = floor_fast(p.y), fz = floor_fast(p.z);
  const int x = static_cast<int>(fx), y = static_cast<int>(fy), z = static_cast<int>(fz);
  float u = p.x - fx, v = p.y - fy, w = p.z - fz;
  u = u * u * (3 - 2 * u);
  v = v * v * (3 - 2 * v);
  w = w * w * (3 - 2 * w);
  const auto at = [&](int i, int j, int k) { return unit(hash3(x + i, y + j, z + k, seed)); };
  const float a = mix(mix(at(0, 0, 0), at(1, 0, 0), u), mix(at(0, 1, 0), at(1, 1, 0), u), v);
  const float b = mix(mix(at(0, 0, 1), at(1, 0, 1), u), mix(at(0, 1, 1), at(1, 1, 1), u), v);
  return mix(a, b, w);
}

// Rigid transform, rows of a 3x4 matrix.
struct Affine {
  float m[12];
  Vec3 point(const Vec3& p) const {
    return {m[0] * p.x + m[1] * p.y + m[2] * p.z + m[3],
            m[4] * p.x + m[5] * p.y + m[6] * p.z + m[7],
            m[8] * p.x + m[9] * p.y + m[10] * p.z + m[11]};
  }
  Vec3 direction(const Vec3& p) const {
    return {m[0] * p.x + m[1] * p.y + m[2] * p.z, m[4] * p.x + m[5] * p.y + m[6] * p.z,
            m[8] * p.x + m[9] * p.y + m[10] * p.z};
  }
};

}  // namespace crosscam::sim
