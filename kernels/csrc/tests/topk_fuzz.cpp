// Random problems for similarity_topk, compared with a naive computation in double.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "fuzz.h"
#include "topk.h"
#include "topk_heap.h"

namespace {

using crosscam::CameraRule;
using crosscam::Candidate;
using crosscam::Element;
using crosscam::RowMatrix;
using crosscam::TopkProblem;
using crosscam::fuzz::fail;
using crosscam::fuzz::Source;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return 0x7FC0;
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// Truncated: the fuzzer needs some half, not the nearest one. Beyond its range: infinity.
uint16_t to_half(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const int exponent = static_cast<int>(bits >> 23 & 255) - 112;
  if (std::isnan(x)) return 0x7E00;
  if (exponent >= 31) return static_cast<uint16_t>(sign | 0x7C00);
  if (exponent <= 0)
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::abs(x) * 0x1p24f));
  return static_cast<uint16_t>(sign | exponent << 10 | (bits >> 13 & 1023));
}

double from_half(uint16_t h) {
  const double sign = (h & 0x8000) != 0 ? -1.0 : 1.0;
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  if (exponent == 31) return fraction != 0 ? std::nan("") : sign * kInfinity;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

/// Rows of some element in a vector of exactly the needed size, so that a sanitizer sees overruns.
struct Matrix {
  std::vector<char> bytes;
  RowMatrix view;

  double value(int64_t row, int64_t d) const {
    const char* const at =
        bytes.data() + (row * view.stride + d) * crosscam::element_size(view.element);
    if (view.element == Element::kInt8) return static_cast<int8_t>(*at);
    if (view.element == Element::kFloat32) {
      float x;
      std::memcpy(&x, at, sizeof x);
      return x;
    }
    uint16_t bits;
    std::memcpy(&bits, at, sizeof bits);
    return view.element == Element::kFloat16
               ? from_half(bits)
               : std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

Matrix store(const std::vector<float>& rows, int64_t count, int64_t dim, int64_t stride,
             Element element) {
  Matrix matrix;
  const int64_t size = crosscam::element_size(element);
  const int64_t elements = count == 0 ? 0 : (count - 1) * stride + dim;
  matrix.bytes.resize(static_cast<size_t>(elements * size));
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t d = 0; d < dim; ++d) {
      const float x = rows[static_cast<size_t>(r * dim + d)];
      const uint16_t half = element == Element::kFloat16 ? to_half(x) : to_bf16(x);
      std::memcpy(matrix.bytes.data() + (r * stride + d) * size,
                  element == Element::kFloat32 ? static_cast<const void*>(&x) : &half,
                  static_cast<size_t>(size));
    }
  }
  matrix.view = {matrix.bytes.data(), stride, element};
  return matrix;
}

struct Problem {
  std::vector<float> queries, scale;
  Matrix gallery, exact;
  std::vector<uint8_t> valid;
  std::vector<int32_t> query_camera, gallery_camera;
  std::vector<int64_t> query_time, gallery_time;
  std::vector<uint64_t> adjacency;
  TopkProblem p;
};

/// int8 rows as crosscam_kernels.quantise_rows makes them.
void quantise(Problem& problem) {
  const TopkProblem& p = problem.p;
  Matrix bytes;
  bytes.bytes.resize(static_cast<size_t>(p.gallery_count * p.dim));
  for (int64_t r = 0; r < p.gallery_count; ++r) {
    float largest = 0.0f;
    bool finite = true;
    for (int64_t d = 0; d < p.dim; ++d) {
      const auto x = static_cast<float>(problem.gallery.value(r, d));
      finite = finite && std::isfinite(x);
      largest = std::max(largest, std::abs(x));
    }
    const float scale = finite ? largest / 127.0f : std::nanf("");
    problem.scale.push_back(scale);
    for (int64_t d = 0; d < p.dim; ++d) {
      const auto x = static_cast<float>(problem.gallery.value(r, d));
      const float rounded = scale > 0.0f ? std::nearbyint(x / scale) : 0.0f;
      bytes.bytes[static_cast<size_t>(r * p.dim + d)] =
          static_cast<char>(static_cast<int8_t>(std::clamp(rounded, -127.0f, 127.0f)));
    }
  }
  bytes.view = {nullptr, p.dim, Element::kInt8};
  problem.exact = std::move(problem.gallery);
  problem.gallery = std::move(bytes);
}

/// Features of one of several kinds: normalised, in clusters, of exact sums, or unpleasant.
std::vector<float> features(Source& random, int64_t count, int64_t dim, int kind) {
  std::vector<float> rows(static_cast<size_t>(count * dim));
  for (int64_t r = 0; r < count; ++r) {
    float* const row = rows.data() + r * dim;
    if (kind == 1 && r > 8 && !random.one_in(10)) {  // near an earlier row
      const float* const other = rows.data() + random.below(8) * dim;
      for (int64_t d = 0; d < dim; ++d)
        row[d] = other[d] + static_cast<float>(random.normal() * 0.02);
      continue;
    }
    double norm = 0.0;
    for (int64_t d = 0; d < dim; ++d) {
      row[d] =
          kind == 2 ? static_cast<float>(random.below(3) - 1) : static_cast<float>(random.normal());
      norm += static_cast<double>(row[d]) * row[d];
    }
    if (kind == 2) continue;
    const double length = kind == 3 && random.one_in(50) ? 1e-3 : 1.0;
    for (int64_t d = 0; d < dim; ++d) {
      row[d] = static_cast<float>(row[d] / (std::sqrt(norm) * length + 1e-30));
    }
    if (kind == 3 && random.one_in(200)) {
      const float odd[] = {std::nanf(""), kInfinity, -kInfinity, 3e38f, 1e-42f};
      row[random.below(dim)] = odd[random.below(5)];
    }
  }
  return rows;
}

/// Mostly times of a day; sometimes the ends of int64, whose differences do not fit it.
void draw_times(Source& random, Problem& problem) {
  TopkProblem& p = problem.p;
  const bool extreme = random.one_in(4);
  const auto least = std::numeric_limits<int64_t>::min(), most = ~least;
  const std::vector<int64_t> ends = {least, least + 1, -1, 0, 1, most / 2, most - 1, most};
  const auto time = [&] { return extreme ? random.one_of(ends) : random.below(1000); };
  for (int64_t q = 0; q < p.query_count; ++q) problem.query_time.push_back(time());
  for (int64_t g = 0; g < p.gallery_count; ++g) problem.gallery_time.push_back(time());
  p.window_low = extreme ? random.one_of(ends) : random.below(600) - 500;
  p.window_high = extreme ? random.one_of(ends) : p.window_low + random.below(900);
  if (random.one_in(6)) p.window_low = least;
  if (random.one_in(6)) p.window_high = most;
}

Problem draw(Source& random) {
  Problem problem;
  TopkProblem& p = problem.p;
  p.query_count = 1 + random.below(random.one_in(4) ? 90 : 10);
  p.gallery_count = random.one_in(3) ? random.below(60) : random.below(1600);
  p.dim = 1 + random.below(random.one_in(4) ? 150 : 40);
  p.k = 1 + random.below(random.one_in(8) ? 300 : 12);
  p.threads = static_cast<int>(1 + random.below(3));
  p.dot = !random.one_in(4);
  const auto& levels = crosscam::simd_levels();
  p.simd = levels[static_cast<size_t>(random.below(static_cast<int64_t>(levels.size())))];
  const auto kind = static_cast<int>(random.below(4));
  p.query_stride = p.dim;
  problem.queries = features(random, p.query_count, p.dim, kind);
  const auto element = static_cast<Element>(random.below(3));
  const int64_t stride = p.dim + (random.one_in(3) ? random.below(5) : 0);
  problem.gallery = store(features(random, p.gallery_count, p.dim, kind), p.gallery_count, p.dim,
                          stride, element);
  if (random.one_in(3)) quantise(problem);
  if (random.one_in(2)) {
    for (int64_t g = 0; g < p.gallery_count; ++g) problem.valid.push_back(!random.one_in(4));
  }
  if (random.one_in(2)) {
    const bool far = random.one_in(4);  // ids too far apart for a table
    const int32_t spread = far ? 1'000'003 : 1;
    for (int64_t q = 0; q < p.query_count; ++q) {
      problem.query_camera.push_back(static_cast<int32_t>(random.below(70)) * spread);
    }
    for (int64_t g = 0; g < p.gallery_count; ++g) {
      problem.gallery_camera.push_back(static_cast<int32_t>(random.below(70)) * spread);
    }
    p.rule = static_cast<CameraRule>(random.below(3));
    p.adjacency_words = 2;
    for (int i = 0; !far && i < 140; ++i)
      problem.adjacency.push_back(random.next() | random.next());
    if (far || random.one_in(3)) problem.adjacency.clear();
  }
  if (random.one_in(2)) draw_times(random, problem);
  return problem;
}

template <typename T>
const T* or_null(const std::vector<T>& values) {
  return values.empty() ? nullptr : values.data();
}

const TopkProblem& bind(Problem& problem) {
  TopkProblem& p = problem.p;
  p.queries = problem.queries.data();
  static const char empty = 0;  // galleries without rows still have an address
  const auto view = [](const Matrix& m) {
    return RowMatrix{m.bytes.empty() ? &empty : m.bytes.data(), m.view.stride, m.view.element};
  };
  p.gallery = view(problem.gallery);
  if (problem.gallery.view.element == Element::kInt8) {
    p.gallery_scale = problem.scale.data();
    p.exact = view(problem.exact);
  }
  p.valid = or_null(problem.valid);
  p.query_camera = or_null(problem.query_camera);
  p.gallery_camera = or_null(problem.gallery_camera);
  p.adjacency = or_null(problem.adjacency);
  p.query_time = or_null(problem.query_time);
  p.gallery_time = or_null(problem.gallery_time);
  return p;
}

bool allowed(const TopkProblem& p, int64_t q, int64_t g) {
  if (p.valid != nullptr && p.valid[g] == 0) return false;
  if (p.gallery_camera != nullptr) {
    const int32_t a = p.query_camera[q], b = p.gallery_camera[g];
    if (p.rule == CameraRule::kExcludeSame && a == b) return false;
    if (p.rule == CameraRule::kOnlySame && a != b) return false;
    if (p.adjacency != nullptr &&
        (p.adjacency[a * p.adjacency_words + b / 64] >> (b % 64) & 1) == 0)
      return false;
  }
  if (p.gallery_time != nullptr) {
    const auto difference = static_cast<__int128>(p.query_time[q]) - p.gallery_time[g];
    const auto least = std::numeric_limits<int64_t>::min();
    if (p.window_low != least && difference < p.window_low) return false;
    if (p.window_high != ~least && difference > p.window_high) return false;
  }
  return true;
}

/// Compares the results of one query with sums in double.
bool check_query(const Problem& problem, int64_t q, const float* similarity, const int64_t* index) {
  const TopkProblem& p = problem.p;
  const Matrix& rows = p.exact.data != nullptr ? problem.exact : problem.gallery;
  const float* const query = p.queries + q * p.query_stride;
  std::vector<double> sum(static_cast<size_t>(p.gallery_count)), slack(sum.size());
  int64_t possible = 0;
  bool finite = true;
  for (int64_t g = 0; g < p.gallery_count; ++g) {
    const auto at = static_cast<size_t>(g);
    double size = 0.0;
    for (int64_t d = 0; d < p.dim; ++d) {
      const double product = rows.value(g, d) * query[d];
      sum[at] += product;
      size += std::abs(product);
    }
    slack[at] = size * static_cast<double>(p.dim) * 0x1p-23 + 1e-37;
    const bool ok = allowed(p, q, g);
    finite = finite && (!ok || size < 1e37);
    possible += ok ? 1 : 0;
  }
  std::vector<uint8_t> taken(sum.size(), 0);
  double worst = kInfinity;
  int64_t found = 0;
  for (int64_t i = 0; i < p.k; ++i) {
    const int64_t g = index[i];
    if (g == -1) {
      if (similarity[i] != -kInfinity) return fail("padding with a similarity", q, i);
      continue;
    }
    if (found != i || g < 0 || g >= p.gallery_count) return fail("index out of place", q, i);
    ++found;
    const auto at = static_cast<size_t>(g);
    if (taken[at]++ != 0) return fail("the same row twice", q, i);
    if (!allowed(p, q, g)) return fail("a masked row", q, i);
    if (!(similarity[i] > -kInfinity)) return fail("NaN or minus infinity", q, i);
    if (i > 0 && !crosscam::better({similarity[i - 1], index[i - 1]}, {similarity[i], g})) {
      return fail("wrong order", q, i);
    }
    if (finite && std::abs(similarity[i] - sum[at]) > slack[at])
      return fail("wrong similarity", q, i);
    worst = similarity[i];
  }
  if (!finite) return true;  // what remains is about values that double cannot follow
  if (found != std::min(p.k, possible)) return fail("too few results", q, found);
  for (size_t g = 0; g < sum.size() && found == p.k; ++g) {
    if (taken[g] == 0 && allowed(p, q, static_cast<int64_t>(g)) && sum[g] - slack[g] > worst) {
      return fail("a better row was missed", q, static_cast<int64_t>(g));
    }
  }
  return true;
}

/// The definition: the scalar chain of fused multiply-adds over all pairs, to the last bit.
bool check_bits(const Problem& problem, const std::vector<float>& similarity,
                const std::vector<int64_t>& index) {
  const TopkProblem& p = problem.p;
  const Matrix& rows = p.exact.data != nullptr ? problem.exact : problem.gallery;
  for (int64_t q = 0; q < p.query_count; ++q) {
    std::vector<Candidate> all;
    for (int64_t g = 0; g < p.gallery_count; ++g) {
      if (!allowed(p, q, g)) continue;
      float s = 0.0f;
      for (int64_t d = 0; d < p.dim; ++d) {
        s = std::fma(static_cast<float>(rows.value(g, d)), p.queries[q * p.query_stride + d], s);
      }
      if (s > -kInfinity) all.push_back({s, g});
    }
    std::sort(all.begin(), all.end(), crosscam::better);
    all.resize(static_cast<size_t>(p.k), {-kInfinity, -1});
    for (int64_t i = 0; i < p.k; ++i) {
      const auto at = static_cast<size_t>(q * p.k + i);
      if (index[at] != all[static_cast<size_t>(i)].index ||
          similarity[at] != all[static_cast<size_t>(i)].similarity) {
        return fail("not the defined result", q, i);
      }
    }
  }
  return true;
}

void describe(const TopkProblem& p) {
  const auto number = [](int64_t n) { return static_cast<long long>(n); };
  std::fprintf(stderr, "Q=%lld G=%lld D=%lld k=%lld element=%d exact=%d level=%s dot=%d\n",
               number(p.query_count), number(p.gallery_count), number(p.dim), number(p.k),
               static_cast<int>(p.gallery.element),
               p.exact.data == nullptr ? -1 : static_cast<int>(p.exact.element),
               crosscam::simd_name(p.simd), p.dot ? 1 : 0);
}

/// Searches and checks one problem.
bool check(const Problem& problem) {
  const TopkProblem& p = problem.p;
  const auto size = static_cast<size_t>(p.query_count * p.k);
  std::vector<float> similarity(size, 12345.0f);
  std::vector<int64_t> index(size, 12345);
  crosscam::similarity_topk(p, similarity.data(), index.data());
  for (int64_t q = 0; q < p.query_count; ++q) {
    if (!check_query(problem, q, similarity.data() + q * p.k, index.data() + q * p.k)) return false;
  }
  return check_bits(problem, similarity, index);
}

}  // namespace

bool fuzz_one(Source& random) {
  Problem problem = draw(random);
  const TopkProblem& p = bind(problem);
  if (check(problem)) return true;
  describe(p);
  return false;
}
