// One camera's picture: the still backdrop with people, shadows and the camera's own look.
#pragma once
#include <memory>
#include <vector>

#include "backdrop.h"
#include "people.h"

namespace crosscam::sim {

struct Look {
  Vec3 gain;       // white balance times exposure correction, R G B
  float gamma;     // of the encoded signal
  float contrast;  // strength of the film curve
  float saturation;
  float vignette;  // darkening in the corners, 0 to 1
  float noise;     // standard deviation in grey levels at mid grey
  float shadow_softness;
};

// What is true about one person in one picture; pixels, x1 and y1 exclusive.
struct Truth {
  int amodal[4] = {0, 0, 0, 0};   // silhouette without occluders, may leave the frame
  int visible[4] = {0, 0, 0, 0};  // what the picture shows
  int amodal_pixels = 0;          // of the silhouette, in the frame and beside it
  int inside_pixels = 0;          // of the silhouette, in the frame
  int visible_pixels = 0;
};

class View {
 public:
  View(std::shared_ptr<const Scenery> scenery, const Camera& camera, const Look& look,
       int ambient_rays, uint32_t seed);
  // `bones`: mesh->bones transforms per person. `bgr`: H x W x 3. `ids`: H x W, 0 = nobody,
  // k + 1 = person k (may be null). `parts`: H x W, where somebody is 1 + the number of the
  // material in their mesh, elsewhere 0 (may be null; needs `ids`).
  std::vector<Truth> render(const std::vector<const Mesh*>& meshes,
                            const std::vector<const Affine*>& bones, uint32_t noise_seed,
                            uint8_t* bgr, uint8_t* ids, uint8_t* parts = nullptr) const;
  const Camera& camera() const { return camera_; }

 private:
  struct Lit;
  Vec3 develop(const Vec3& linear, size_t pixel) const;
  Lit light_person(const Posed& person, uint32_t seed) const;
  Vec3 shade(const Posed& person, const Lit& lit, const std::vector<Lit>& all, int triangle,
             float x, float y) const;

  std::shared_ptr<const Scenery> scenery_;
  Camera camera_;
  Look look_;
  Backdrop backdrop_;
  std::vector<float> vignette_;
  std::vector<float> curve_;
  std::vector<float> still_;   // developed backdrop, 3 floats per pixel, B G R
  std::vector<int8_t> grain_;  // unit noise, 1/32 steps
};

}  // namespace crosscam::sim
