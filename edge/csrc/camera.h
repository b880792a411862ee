// Pinhole camera: pixel = K (R X + t), depth along the optical axis.
#pragma once
#include "vec.h"

namespace crosscam::sim {

struct Camera {
  int width, height;
  float fx, fy, cx, cy;
  Affine pose;  // world to camera (x right, y down, z forward)

  Vec3 centre() const {
    const float* m = pose.m;
    const Vec3 t{m[3], m[7], m[11]};
    return Vec3{m[0] * t.x + m[4] * t.y + m[8] * t.z, m[1] * t.x + m[5] * t.y + m[9] * t.z,
                m[2] * t.x + m[6] * t.y + m[10] * t.z} *
           -1.0f;
  }
  // World direction with unit depth: centre + depth * ray(u, v) has that depth.
  Vec3 ray(float u, float v) const {
    const float x = (u - cx) / fx, y = (v - cy) / fy;
    const float* m = pose.m;
    return {m[0] * x + m[4] * y + m[8], m[1] * x + m[5] * y + m[9], m[2] * x + m[6] * y + m[10]};
  }
  // 17 floats: width, height, fx, fy, cx, cy are 0-5, the 3x4 pose follows.
  static Camera from(const double* f) {
    Camera c{};
    c.width = static_cast<int>(f[0]);
    c.height = static_cast<int>(f[1]);
    c.fx = static_cast<float>(f[2]);
    c.fy = static_cast<float>(f[3]);
    c.cx = static_cast<float>(f[4]);
    c.cy = static_cast<float>(f[5]);
    for (int i = 0; i < 12; ++i) c.pose.m[i] = static_cast<float>(f[6 + i]);
    return c;
  }
};

}  // namespace crosscam::sim
