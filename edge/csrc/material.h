// Procedural surfaces: colour and micro-relief as functions of a 3-D point (no UV maps needed).
#pragma once
#include "vec.h"

namespace crosscam::sim {

enum class Pattern : int {
  kPlain = 0,
  kStripesZ = 1,  // stripes stacked in height
  kStripesY = 2,  // stripes side by side
  kChecks = 3,    // plaid
  kTiles = 4,     // floor or wall tiles with grout
  kPlanks = 5,    // wooden boards
  kMottled = 6,   // plaster, asphalt, foliage
  kBricks = 7,
  kGoods = 8,  // rows of coloured boxes on a shelf
  kDenim = 9,
  kDots = 10,
  kLogo = 11,   // plain cloth with an emblem on the chest
  kBlock = 12,  // two colours, parted at a height
  kFace = 13,   // skin with eyes, brows, lips; offset = centre between the eyes
  kHair = 14,
  kJacket = 15,   // open front: a stripe of the inner colour, or a zip
  kWindows = 16,  // facade
  kPrint = 17,    // an emblem or lines of writing, on the chest or on the back
  kCamouflage = 18,
  kSleeves = 19,  // arms of another colour, beyond |y| = offset.y
  kSides = 20,    // a stripe down the outer sides: b wide, at the height of the joint a
  kAllover = 21,  // many small shapes of two colours
};

// Layout is shared with Python (simulate/materials.py): kFloats floats per material.
struct Material {
  static constexpr int kFloats = 20;
  Pattern pattern;
  Vec3 c0, c1, c2;
  float a, b;      // pattern sizes in metres
  float specular;  // 0 matt ... 1 glossy
  float bump;      // strength of the relief
  Vec3 offset;
  uint32_t seed;
  float emission;
  float fold;  // size of cloth folds in metres; 0 = none

  static Material from(const float* f) {
    Material m;
    m.pattern = static_cast<Pattern>(static_cast<int>(f[0]));
    m.c0 = {f[1], f[2], f[3]};
    m.c1 = {f[4], f[5], f[6]};
    m.c2 = {f[7], f[8], f[9]};
    m.a = f[10];
    m.b = f[11];
    m.specular = f[12];
    m.bump = f[13];
    m.offset = {f[14], f[15], f[16]};
    m.seed = static_cast<uint32_t>(f[17]);
    m.emission = f[18];
    m.fold = f[19];
    return m;
  }
};

// Linear albedo at point `p` with unit normal `n` (both in the material's own space).
Vec3 albedo(const Material& m, const Vec3& p, const Vec3& n);

// Unit normal after the relief of cloth folds.
Vec3 perturb(const Material& m, const Vec3& p, const Vec3& n);

}  // namespace crosscam::sim
