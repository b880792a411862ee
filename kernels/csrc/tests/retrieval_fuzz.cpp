// Random problems for retrieval_ranks, compared with a stable sort of all scores.
#include <algorithm>
#include <limits>

#include "fuzz.h"
#include "retrieval.h"

namespace {

using crosscam::RetrievalLabels;
using crosscam::RetrievalMetric;
using crosscam::RetrievalProtocol;
using crosscam::fuzz::fail;
using crosscam::fuzz::Source;

/// Vectors of exactly the needed size, so that a sanitizer sees every overrun.
struct Problem {
  std::vector<float> queries, gallery, distances;
  std::vector<int64_t> query_label[3], gallery_label[3];  // person, group, clothes
  std::vector<uint8_t> valid;
  RetrievalLabels labels;
  crosscam::RetrievalFeatures features;
  bool known_distances = false;
};

/// Mostly small integers, whose sums are exact and tie; sometimes values that are no numbers.
float value(Source& random, bool odd) {
  if (odd && random.one_in(40)) {
    return random.one_of<float>(
        {std::nanf(""), 3e38f, -3e38f, 1e-42f, -0.0f, std::numeric_limits<float>::infinity()});
  }
  return static_cast<float>(random.between(-2, 2));
}

/// Rows `stride` apart; the last one ends where the memory ends.
std::vector<float> rows(Source& random, int64_t count, int64_t dim, int64_t stride, bool odd) {
  std::vector<float> out(static_cast<size_t>(count == 0 ? 0 : (count - 1) * stride + dim), -55.0f);
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t d = 0; d < dim; ++d) {
      out[static_cast<size_t>(r * stride + d)] = value(random, odd);
    }
  }
  out.reserve(1);  // an address, also without rows
  return out;
}

void draw(Source& random, Problem& p) {
  const int64_t queries = random.between(0, 70);
  const int64_t gallery = random.one_in(3) ? random.below(12) : random.below(900);
  const int64_t dim = random.between(1, 40), people = random.between(1, 30);
  const int64_t spread = random.one_in(4) ? 1'000'000'000'007 : 1;  // ids need not be small
  const bool odd = random.one_in(3);
  p.known_distances = random.one_in(2);
  for (int kind = 0; kind < 3; ++kind) {
    const int64_t values = kind == 0 ? people : 3;
    for (int64_t q = 0; q < queries; ++q) {
      p.query_label[kind].push_back((random.below(values) - 1) * spread);
    }
    for (int64_t g = 0; g < gallery; ++g) {
      p.gallery_label[kind].push_back((random.below(values) - 1) * spread);
    }
  }
  if (random.one_in(2)) {
    for (int64_t g = 0; g < gallery; ++g) p.valid.push_back(!random.one_in(5));
  }
  p.labels.query_count = queries;
  p.labels.gallery_count = gallery;
  p.labels.protocol = static_cast<RetrievalProtocol>(random.below(4));
  p.features.dim = dim;
  p.features.query_stride = dim + random.below(3);
  p.features.gallery_stride = (p.known_distances ? gallery : dim) + random.below(3);
  if (p.known_distances) {
    p.distances = rows(random, queries, gallery, p.features.gallery_stride, odd);
    return;
  }
  p.queries = rows(random, queries, dim, p.features.query_stride, odd);
  p.gallery = rows(random, gallery, dim, p.features.gallery_stride, odd);
}

void bind(Problem& p) {
  RetrievalLabels& l = p.labels;
  l.query_id = p.query_label[0].data();
  l.query_group = p.query_label[1].data();
  l.query_clothes = p.query_label[2].data();
  l.gallery_id = p.gallery_label[0].data();
  l.gallery_group = p.gallery_label[1].data();
  l.gallery_clothes = p.gallery_label[2].data();
  l.valid = p.valid.empty() ? nullptr : p.valid.data();
  p.features.queries = p.queries.data();
  p.features.gallery = p.gallery.data();
}

/// What rows are ordered by, greatest first; the documented chain of fused multiply-adds.
float score(const Problem& p, int64_t q, int64_t g) {
  if (p.known_distances) {
    return -p.distances[static_cast<size_t>(q * p.features.gallery_stride + g)];
  }
  const float* const a = p.features.queries + q * p.features.query_stride;
  const float* const b = p.features.gallery + g * p.features.gallery_stride;
  float sum = 0.0f;
  for (int64_t d = 0; d < p.features.dim; ++d) sum = std::fma(b[d], a[d], sum);
  return sum;
}

bool counts(const RetrievalLabels& l, int64_t q, int64_t g) {
  if (l.valid != nullptr && l.valid[g] == 0) return false;
  if (l.query_id[q] != l.gallery_id[g] || l.protocol == RetrievalProtocol::kAny) return true;
  if (l.query_group[q] == l.gallery_group[g]) return false;
  const bool same = l.query_clothes[q] == l.gallery_clothes[g];
  return l.protocol == RetrievalProtocol::kStandard ||
         same == (l.protocol == RetrievalProtocol::kSameClothes);
}

struct Figures {
  explicit Figures(int64_t count)
      : ap(static_cast<size_t>(count), 12345.0),
        first(ap.size(), 12345),
        last(first),
        right(first) {
    ap.reserve(1);
  }
  crosscam::RetrievalResult result() {
    return {ap.data(), first.data(), last.data(), right.data()};
  }
  std::vector<double> ap;
  std::vector<int64_t> first, last, right;
};

/// The ranks by sorting; NaN goes last, as in `retrieval_metrics`.
bool check(const Problem& p, const Figures& found) {
  const RetrievalLabels& l = p.labels;
  for (int64_t q = 0; q < l.query_count; ++q) {
    std::vector<std::pair<float, int64_t>> order;
    for (int64_t g = 0; g < l.gallery_count; ++g) {
      if (!counts(l, q, g)) continue;
      order.emplace_back(score(p, q, g), g);
    }
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      if (std::isnan(a.first) || std::isnan(b.first)) return !std::isnan(a.first);
      return a.first > b.first;
    });
    int64_t first = 0, last = 0, right = 0;
    double sum = 0.0;
    for (size_t i = 0; i < order.size(); ++i) {
      if (l.gallery_id[order[i].second] != l.query_id[q]) continue;
      last = static_cast<int64_t>(i) + 1;
      if (++right == 1) first = last;
      sum += static_cast<double>(right) / static_cast<double>(last);
    }
    const auto at = static_cast<size_t>(q);
    if (found.right[at] != right) return fail("number of right answers", q, found.right[at]);
    if (found.first[at] != first) return fail("first rank", q, found.first[at]);
    if (found.last[at] != last) return fail("last rank", q, found.last[at]);
    if (right == 0 ? !std::isnan(found.ap[at]) : found.ap[at] != sum / static_cast<double>(right)) {
      return fail("average precision", q, right);
    }
  }
  return true;
}

}  // namespace

bool fuzz_one(Source& random) {
  Problem p;
  draw(random, p);
  bind(p);
  Figures found(p.labels.query_count);
  const auto threads = static_cast<int>(random.between(1, 3));
  const auto level = random.one_of(crosscam::simd_levels());
  if (p.known_distances) {
    crosscam::retrieval_ranks(p.labels, p.distances.data(), p.features.gallery_stride, threads,
                              found.result());
  } else {
    crosscam::retrieval_ranks(p.labels, p.features, threads, level, found.result());
  }
  if (check(p, found)) return true;
  std::fprintf(stderr, "Q=%lld G=%lld D=%lld protocol=%d distances=%d level=%s\n",
               static_cast<long long>(p.labels.query_count),
               static_cast<long long>(p.labels.gallery_count),
               static_cast<long long>(p.features.dim), static_cast<int>(p.labels.protocol),
               p.known_distances ? 1 : 0, crosscam::simd_name(level));
  return false;
}
