#include "view.h"

#include <array>
#include <limits>

namespace crosscam::sim {
namespace {

constexpr int kCurve = 4096;
constexpr float kWhite = 6.0f;  // linear value that maps to the end of the curve
constexpr size_t kGrain = 1 << 20;
constexpr int kLevels = 3;  // heights at which the light on a person is measured

float film(float v, float contrast) {  // soft shoulder, then a gentle S
  const float a = v * (1 + v / (kWhite * 1.2f)) / (1 + v);
  const float s = a * a * (3 - 2 * a);
  return mix(a, s, contrast);
}

}  // namespace

// The light on one person and what they keep from others.
struct View::Lit {
  struct Beam {
    Vec3 to_light;
    std::array<Vec3, kLevels> colour;
  };
  std::vector<Beam> beams;
  std::vector<ShadowMap> shadow;  // of the strongest beam; empty without light
  float share = 0;                // part of the light that the strongest beam brings
  Vec3 lo, hi;
  int rect[4];                // pixels that this person can darken; the last two exclusive
  std::vector<Vec3> contact;  // lowest points, for the darkening under feet
};

View::View(std::shared_ptr<const Scenery> scenery, const Camera& camera, const Look& look,
           int ambient_rays, uint32_t seed)
    : scenery_(std::move(scenery)), camera_(camera), look_(look) {
  backdrop_ = trace(*scenery_, camera_, ambient_rays, seed);
  curve_.resize(kCurve + 1);
  for (int i = 0; i <= kCurve; ++i) {
    const float root = static_cast<float>(i) / kCurve;  // the table is finer in the dark
    const float v = film(root * root * kWhite, look_.contrast);
    curve_[i] = 255.0f * std::pow(clamp01(v), 1.0f / look_.gamma);
  }
  const size_t pixels = backdrop_.ambient.size();
  double light = 0;
  for (size_t i = 0; i < pixels; ++i) {
    const Vec3 c = backdrop_.ambient[i] + backdrop_.direct[i];
    light += std::min(dot(c, {0.3f, 0.59f, 0.11f}), 2.0f);
  }
  const double mean = light / static_cast<double>(std::max<size_t>(pixels, 1));
  look_.gain = look_.gain * static_cast<float>(0.5 / std::max(mean, 1e-3));  // automatic exposure
  vignette_.resize(pixels);
  still_.resize(3 * pixels);
  const float rx = 0.5f * static_cast<float>(camera_.width),
              ry = 0.5f * static_cast<float>(camera_.height);
  for (size_t i = 0; i < pixels; ++i) {
    const float dx = (static_cast<float>(i % camera_.width) - rx) / rx;
    const float dy = (static_cast<float>(i / camera_.width) - ry) / ry;
    vignette_[i] = 1 - look_.vignette * 0.5f * (dx * dx + dy * dy);
    const Vec3 c = develop(backdrop_.ambient[i] + backdrop_.direct[i], i);
    still_[3 * i] = c.z, still_[3 * i + 1] = c.y, still_[3 * i + 2] = c.x;
  }
  grain_.resize(kGrain);
  for (size_t i = 0; i < kGrain; ++i) {  // sum of uniforms: near enough to normal
    uint32_t h = hash(static_cast<uint32_t>(i) ^ hash(seed));
    int sum = 0;
    for (int k = 0; k < 4; ++k) sum += static_cast<int>(h >> (8 * k) & 255);
    grain_[i] = static_cast<int8_t>(std::clamp((sum - 510) * 32 / 148, -127, 127));
  }
}

Vec3 View::develop(const Vec3& linear, size_t pixel) const {
  Vec3 c = linear * look_.gain * vignette_[pixel];
  const float grey = 0.3f * c.x + 0.59f * c.y + 0.11f * c.z;
  c = mix({grey, grey, grey}, c, look_.saturation);
  const auto level = [&](float v) {
    const float at = std::sqrt(clamp01(v / kWhite)) * kCurve;
    const int i = std::min(static_cast<int>(at), kCurve - 1);
    return mix(curve_[i], curve_[i + 1], at - static_cast<float>(i));
  };
  return {level(c.x), level(c.y), level(c.z)};
}

View::Lit View::light_person(const Posed& person, uint32_t seed) const {
  Lit out;
  out.lo = person.lo;
  out.hi = person.hi;
  const Vec3 mid = (person.lo + person.hi) * 0.5f;
  float best = 0, total = 0;
  Vec3 key{0, 0, 1};
  for (const Lamp& lamp : scenery_->light.lamps) {
    Lit::Beam beam;
    float power = 0;
    beam.to_light = lamp.sun ? normalize(lamp.position) : normalize(lamp.position - mid);
    for (int k = 0; k < kLevels; ++k) {
      const Vec3 at{mid.x, mid.y,
                    mix(person.lo.z, person.hi.z, (static_cast<float>(k) + 0.4f) / kLevels)};
      float sum = 0;
      constexpr int kRays = 4;
      for (int i = 0; i < kRays; ++i) {
        const uint32_t h = hash(seed + 31u * static_cast<uint32_t>(i));
        const float a = 2 * unit(h) - 1, b = 2 * unit(hash(h + 3)) - 1;
        if (lamp.sun) {
          const Vec3 from = at + Vec3{a, b, 0} * 0.15f;
          sum += scenery_->bvh.occluded({from, beam.to_light, 1e4f}) ? 0.0f : 1.0f;
        } else {
          const Vec3 to = lamp.position + Vec3{a * lamp.half.x, b * lamp.half.y, 0} - at;
          const float d = length(to);
          if (!scenery_->bvh.occluded({at, to * (1 / d), d - 0.02f}))
            sum += std::max(to.z / d, 0.0f) / (1 + d * d);
        }
      }
      beam.colour[k] = lamp.colour * (sum / kRays);
      power += dot(beam.colour[k], {0.3f, 0.59f, 0.11f});
    }
    total += power;
    if (power > best) best = power, key = beam.to_light;
    if (power > 0) out.beams.push_back(beam);
  }
  if (best > 0) {
    out.share = best / total;
    out.shadow.emplace_back(person, key, look_.shadow_softness);
  }
  // The lowest vertex in each of a few cells around the feet.
  for (size_t i = 0; i < person.world.size(); i += 3) {
    const Vec3& p = person.world[i];
    if (p.z > person.lo.z + 0.035f) continue;
    bool fresh = true;
    for (const Vec3& c : out.contact) fresh = fresh && length(c - p) > 0.07f;
    if (fresh) out.contact.push_back(p);
  }
  return out;
}

Vec3 View::shade(const Posed& person, const Lit& lit, const std::vector<Lit>& all, int triangle,
                 float x, float y) const {
  const Mesh& mesh = *person.mesh;
  const int* v = &mesh.triangle[3 * static_cast<size_t>(triangle)];
  const Vec3 b = barycentric(person, triangle, x, y);
  const auto blend = [&](const std::vector<Vec3>& field) {
    return field[v[0]] * b.x + field[v[1]] * b.y + field[v[2]] * b.z;
  };
  const Material& m = mesh.materials[mesh.material_of[triangle]];
  const Vec3 p = blend(person.world), t = blend(mesh.texture);
  const Vec3 tn = normalize(
      cross(mesh.texture[v[1]] - mesh.texture[v[0]], mesh.texture[v[2]] - mesh.texture[v[0]]));
  Vec3 n = normalize(blend(person.normal));
  const Vec3 to_eye = normalize(camera_.centre() - p);
  if (dot(n, to_eye) < -0.2f) n = n * -1.0f;
  if (m.bump > 0) {
    // The relief lives in texture space; its difference is carried over to the world as it is,
    // which is exact up to the bone's rotation and invisible at this size.
    n = normalize(n + (perturb(m, t, tn) - tn));
  }
  const Vec3 base = albedo(m, t, tn);
  const float open = mesh.shade[v[0]] * b.x + mesh.shade[v[1]] * b.y + mesh.shade[v[2]] * b.z;
  const float height = p.z - lit.lo.z;
  const float floor_dark = 0.72f + 0.28f * smoothstep(0.0f, 0.7f, height);
  const Lighting& light = scenery_->light;
  Vec3 sum = mix(light.ground, light.sky, 0.5f + 0.5f * n.z) * (open * floor_dark * 0.85f);
  float blocked = 0;
  for (const Lit& other : all) {
    if (!other.shadow.empty()) blocked = std::max(blocked, other.shadow[0].blocked(p + n * 0.02f));
  }
  const float level = clamp01(height / std::max(lit.hi.z - lit.lo.z, 0.1f)) * kLevels - 0.4f;
  const int k = std::min(std::max(static_cast<int>(level), 0), kLevels - 2);
  const float f = clamp01(level - static_cast<float>(k));
  Vec3 gloss;
  for (const Lit::Beam& beam : lit.beams) {
    const float c = dot(n, beam.to_light);
    const float wrap = clamp01((c + 0.15f) / 1.15f);
    const Vec3 colour = mix(beam.colour[k], beam.colour[k + 1], f);
    const bool key = !lit.shadow.empty() && dot(beam.to_light, lit.shadow[0].to_light()) > 0.9999f;
    const float pass = key ? 1 - blocked : 1.0f;
    sum += colour * (wrap * pass * mix(1.0f, open, 0.4f));
    if (m.specular > 0 && c > 0) {
      const Vec3 half = normalize(beam.to_light + to_eye);
      gloss += colour * (m.specular * pass * std::pow(clamp01(dot(n, half)), 18.0f));
    }
  }
  const float rim = 1 - clamp01(dot(n, to_eye));
  return base * sum + gloss * 0.35f + light.sky * (0.03f * rim * rim * rim);
}

std::vector<Truth> View::render(const std::vector<const Mesh*>& meshes,
                                const std::vector<const Affine*>& bones, uint32_t noise_seed,
                                uint8_t* bgr, uint8_t* ids, uint8_t* parts) const {
  const int w = camera_.width, h = camera_.height, sw = w * kGrid, sh = h * kGrid;
  const size_t count = meshes.size();
  std::vector<Posed> posed;
  std::vector<Coverage> covers(count);
  std::vector<Lit> lit;
  posed.reserve(count);
  lit.reserve(count);
  for (size_t k = 0; k < count; ++k) {
    posed.push_back(skin(*meshes[k], bones[k], camera_));
    lit.push_back(light_person(posed[k], hash(static_cast<uint32_t>(k) + 5)));
    cover(posed[k], -sw, -sh, 2 * sw, 2 * sh, covers[k]);
  }

  // Who owns each sample: nearest of the backdrop and the people.
  std::vector<float> depth(backdrop_.depth);
  std::vector<uint8_t> owner(depth.size(), 0);
  std::vector<Truth> truth(count);
  std::vector<uint8_t> touched(static_cast<size_t>(w) * h, 0);
  for (size_t k = 0; k < count; ++k) {
    const Coverage& c = covers[k];
    Truth& out = truth[k];
    int box[4] = {1 << 30, 1 << 30, -(1 << 30), -(1 << 30)};
    for (int y = 0; y < c.h; y += kGrid) {
      for (int x = 0; x < c.w; x += kGrid) {
        int covered = 0;
        for (int s = 0; s < kGrid * kGrid; ++s) {
          const size_t i = static_cast<size_t>(y + s / kGrid) * c.w + x + s % kGrid;
          if (c.triangle[i] < 0) continue;
          ++covered;
          const int gx = c.x0 + x + s % kGrid, gy = c.y0 + y + s / kGrid;
          if (gx < 0 || gy < 0 || gx >= sw || gy >= sh) continue;
          const size_t g = static_cast<size_t>(gy) * sw + gx;
          if (c.depth[i] < depth[g]) depth[g] = c.depth[i], owner[g] = static_cast<uint8_t>(k + 1);
        }
        if (covered < kGrid * kGrid / 2) continue;
        const int px = (c.x0 + x) / kGrid, py = (c.y0 + y) / kGrid;
        ++out.amodal_pixels;
        if (c.x0 + x >= 0 && c.y0 + y >= 0 && px < w && py < h) ++out.inside_pixels;
        box[0] = std::min(box[0], px), box[1] = std::min(box[1], py);
        box[2] = std::max(box[2], px + 1), box[3] = std::max(box[3], py + 1);
      }
    }
    if (out.amodal_pixels > 0) std::copy(box, box + 4, out.amodal);
    // Where this person can change the picture: body, shadow on the ground and the walls, feet.
    int rect[4] = {c.x0 / kGrid, c.y0 / kGrid, (c.x0 + c.w) / kGrid, (c.y0 + c.h) / kGrid};
    const auto include = [&](const Vec3& p) {
      const Vec3 q = camera_.pose.point(p);
      if (q.z < 0.3f) {
        rect[0] = rect[1] = 0, rect[2] = w, rect[3] = h;
        return;
      }
      const float u = camera_.fx * q.x / q.z + camera_.cx, v = camera_.fy * q.y / q.z + camera_.cy;
      const auto whole = [](float f) {
        return static_cast<int>(std::min(std::max(f, -1e5f), 1e5f));
      };
      rect[0] = std::min(rect[0], whole(u) - 2), rect[1] = std::min(rect[1], whole(v) - 2);
      rect[2] = std::max(rect[2], whole(u) + 3), rect[3] = std::max(rect[3], whole(v) + 3);
    };
    for (int corner = 0; corner < 8; ++corner) {
      const Vec3 p{corner & 1 ? lit[k].lo.x - 0.4f : lit[k].hi.x + 0.4f,
                   corner & 2 ? lit[k].lo.y - 0.4f : lit[k].hi.y + 0.4f,
                   corner & 4 ? lit[k].lo.z : lit[k].hi.z};
      include(p);
      if (lit[k].shadow.empty()) continue;
      const Vec3& l = lit[k].shadow[0].to_light();
      const float fall = std::min((p.z - lit[k].lo.z) / std::max(l.z, 0.15f), 4.0f);
      include(p - l * fall);
    }
    const int limit[4] = {w, h, w, h};
    for (int e = 0; e < 4; ++e) lit[k].rect[e] = std::min(std::max(rect[e], 0), limit[e]);
    for (int y = lit[k].rect[1]; y < lit[k].rect[3]; ++y) {
      const auto line = touched.begin() + static_cast<std::ptrdiff_t>(y) * w;
      std::fill(line + lit[k].rect[0], line + std::max(lit[k].rect[2], lit[k].rect[0]), uint8_t{1});
    }
  }

  const Vec3 eye = camera_.centre();
  std::vector<float> row(3 * static_cast<size_t>(w));
  for (int y = 0; y < h; ++y) {
    const size_t start = static_cast<size_t>(y) * w;
    std::copy(still_.begin() + 3 * start, still_.begin() + 3 * (start + w), row.begin());
    if (ids) std::fill(ids + start, ids + start + w, uint8_t{0});
    if (parts) std::fill(parts + start, parts + start + w, uint8_t{0});
    for (int x = 0; x < w; ++x) {
      const size_t pixel = start + x;
      if (!touched[pixel]) continue;
      Vec3 sum;
      int still = 0;
      float still_depth = 0;
      int last_owner = 0, last_material = -1;
      Vec3 last;
      uint8_t owners[kGrid * kGrid];
      for (int s = 0; s < kGrid * kGrid; ++s) {
        const int gx = x * kGrid + s % kGrid, gy = y * kGrid + s / kGrid;
        const size_t g = static_cast<size_t>(gy) * sw + gx;
        owners[s] = owner[g];
        if (owner[g] == 0) {
          ++still;
          still_depth += depth[g];
          continue;
        }
        const size_t k = owner[g] - 1u;
        const Coverage& c = covers[k];
        const int t = c.triangle[static_cast<size_t>(gy - c.y0) * c.w + (gx - c.x0)];
        const int material = meshes[k]->material_of[t];
        if (owner[g] != last_owner || material != last_material) {  // shade once per surface
          last = shade(posed[k], lit[k], lit, t, static_cast<float>(gx) + 0.5f,
                       static_cast<float>(gy) + 0.5f);
          last_owner = owner[g];
          last_material = material;
        }
        sum += last;
      }
      if (still > 0) {
        const float z = still_depth / static_cast<float>(still);
        Vec3 ambient = backdrop_.ambient[pixel], direct = backdrop_.direct[pixel];
        if (z < 1e3f) {
          const Vec3 p =
              eye + camera_.ray(static_cast<float>(x) + 0.5f, static_cast<float>(y) + 0.5f) * z;
          float pass = 1, open = 1;
          for (const Lit& l : lit) {
            if (x < l.rect[0] || y < l.rect[1] || x >= l.rect[2] || y >= l.rect[3]) continue;
            if (!l.shadow.empty()) pass *= 1 - l.share * l.shadow[0].blocked(p);
            const float dx = std::max({l.lo.x - p.x, p.x - l.hi.x, 0.0f}),
                        dy = std::max({l.lo.y - p.y, p.y - l.hi.y, 0.0f});
            if (dx + dy > 0.8f || p.z > l.lo.z + 0.4f) continue;
            const float mx = p.x - 0.5f * (l.lo.x + l.hi.x), my = p.y - 0.5f * (l.lo.y + l.hi.y);
            open *= 1 - 0.3f * std::exp(-(mx * mx + my * my) / 0.16f);
            for (const Vec3& c : l.contact) {
              const Vec3 d = p - c;
              const float r2 = dot(d, d);
              if (r2 < 0.03f) open *= 1 - 0.28f * std::exp(-r2 / 0.006f);
            }
          }
          if (still == kGrid * kGrid && pass == 1 && open > 0.999f) continue;  // untouched
          ambient = ambient * open;
          direct = direct * (pass * mix(1.0f, open, 0.5f));
        }
        sum += (ambient + direct) * static_cast<float>(still);
      }
      const Vec3 c = develop(sum * (1.0f / (kGrid * kGrid)), pixel);
      row[3 * static_cast<size_t>(x)] = c.z;
      row[3 * static_cast<size_t>(x) + 1] = c.y;
      row[3 * static_cast<size_t>(x) + 2] = c.x;
      // The material of most of the winner's samples, of the first one if there are as many.
      const auto winning_part = [&](int who) {
        int material[kGrid * kGrid], best = 0, most_votes = 0;
        for (int s = 0; s < kGrid * kGrid; ++s) {
          material[s] = -1;
          if (owners[s] != who) continue;
          const Coverage& c = covers[static_cast<size_t>(who) - 1];
          const int gx = x * kGrid + s % kGrid - c.x0, gy = y * kGrid + s / kGrid - c.y0;
          material[s] = meshes[static_cast<size_t>(who) - 1]->material_of[static_cast<size_t>(
              c.triangle[static_cast<size_t>(gy) * c.w + gx])];
        }
        for (const int candidate : material) {
          int votes = 0;
          for (const int other : material) votes += candidate >= 0 && other == candidate;
          if (votes > most_votes) most_votes = votes, best = candidate;
        }
        return best;
      };
      // The pixel belongs to whoever has most of its samples, at least half; if two have half
      // each, to the nearer.
      int winner = 0, most = kGrid * kGrid / 2 - 1;
      float nearest = 0;
      for (int k = 0; k < kGrid * kGrid; ++k) {
        if (owners[k] == 0 || owners[k] == winner) continue;
        int votes = 0;
        for (const uint8_t other : owners) votes += other == owners[k];
        const size_t g = (static_cast<size_t>(y) * kGrid + k / kGrid) * sw + x * kGrid + k % kGrid;
        if (votes > most || (votes == most && winner != 0 && depth[g] < nearest)) {
          most = votes;
          winner = owners[k];
          nearest = depth[g];
        }
      }
      if (winner == 0) continue;
      if (ids) ids[pixel] = static_cast<uint8_t>(winner);
      if (parts) parts[pixel] = static_cast<uint8_t>(1 + winning_part(winner));
      Truth& out = truth[winner - 1];
      if (out.visible_pixels++ == 0) {
        out.visible[0] = x, out.visible[1] = y, out.visible[2] = x + 1, out.visible[3] = y + 1;
      }
      out.visible[0] = std::min(out.visible[0], x);
      out.visible[2] = std::max(out.visible[2], x + 1);
      out.visible[3] = y + 1;
    }
    const size_t grain = hash(noise_seed * 2654435761U + static_cast<uint32_t>(y)) %
                         (kGrain - 3 * static_cast<size_t>(w));
    for (size_t i = 0; i < 3 * static_cast<size_t>(w); ++i) {
      const float sigma =
          look_.noise * (1.35f - row[i] * (0.9f / 255.0f));  // dark areas are gained up
      const float v = row[i] + sigma * (1.0f / 32.0f) * static_cast<float>(grain_[grain + i]);
      bgr[3 * start + i] = static_cast<uint8_t>(std::min(std::max(v + 0.5f, 0.0f), 255.0f));
    }
  }
  return truth;
}

}  // namespace crosscam::sim
