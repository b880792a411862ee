// Bounding-volume hierarchy over triangles: nearest hit and any hit.
#pragma once
#include <vector>

#include "vec.h"

namespace crosscam::sim {

struct Ray {
  Vec3 origin, direction;
  float t_max;
};

struct Hit {
  float t = 0;
  int triangle = -1;
};

class Bvh {
 public:
  // `corners`: 9 floats per triangle.
  Bvh(const float* corners, size_t count);
  Hit nearest(const Ray& ray) const;
  bool occluded(const Ray& ray) const;
  Vec3 normal(int triangle) const { return triangles_[triangle].normal; }

 private:
  struct Triangle {
    Vec3 a, e1, e2, normal;
    int index;
  };
  struct Node {
    Vec3 lo, hi;
    int first;  // leaf: first triangle; inner: left child (right is left + 1)
    int count;  // 0 for inner nodes
    int axis;   // along which the children are parted
  };
  void build(int node, int first, int count);
  template <bool kAny>
  Hit traverse(const Ray& ray) const;

  std::vector<Triangle> triangles_;  // in the caller's order
  std::vector<int> order_;
  std::vector<Node> nodes_;
};

}  // namespace crosscam::sim
