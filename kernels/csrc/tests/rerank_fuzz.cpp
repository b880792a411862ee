// Random encodings and distances of re-ranking, compared with sets and dense rows.
#include <cmath>
#include <limits>

#include "fuzz.h"
#include "rerank_plain.h"

namespace {

using crosscam::RerankProblem;
using crosscam::fuzz::fail;
using crosscam::fuzz::Source;
using crosscam::plain::Lists;
using crosscam::plain::RerankData;

using Dense = std::vector<std::vector<double>>;

void draw(Source& random, RerankProblem& p) {
  p.camera_aware = random.one_in(2);
  p.k1 = random.between(1, 12);
  p.half_k1 = random.between(0, p.k1);
  p.k2 = random.between(1, p.k1 + 1);
  p.k1_intra = random.between(1, 6);
  p.k1_inter = random.between(1, 9);
  p.k2_intra = random.between(1, p.k1_intra);
  p.k2_inter = random.between(1, p.k1_inter);
  p.threads = static_cast<int>(random.between(1, 3));
  p.simd = random.one_of(crosscam::simd_levels());
}

bool check_encoding(const crosscam::SparseRows& rows, const Dense& want) {
  if (rows.begin.size() != want.size() + 1) return fail("number of rows", 0, 0);
  for (size_t i = 0; i < want.size(); ++i) {
    std::vector<double> found(want.size(), 0.0);
    for (int64_t a = rows.begin[i]; a < rows.begin[i + 1]; ++a) {
      const auto at = static_cast<size_t>(a);
      if (a > rows.begin[i] && rows.column[at - 1] >= rows.column[at]) {
        return fail("columns out of order", static_cast<int64_t>(i), a);
      }
      found[static_cast<size_t>(rows.column[at])] = rows.value[at];
    }
    for (size_t c = 0; c < found.size(); ++c) {
      if (!(std::abs(found[c] - want[i][c]) < 2e-6)) {
        return fail("wrong weight", static_cast<int64_t>(i), static_cast<int64_t>(c));
      }
    }
  }
  return true;
}

/// The gallery part of the weights by columns.
crosscam::SparseRows transposed(const crosscam::SparseRows& rows, int64_t queries, int64_t count) {
  crosscam::SparseRows out;
  out.begin.push_back(0);
  for (int64_t c = 0; c < count; ++c) {
    for (int64_t row = queries; row < count; ++row) {
      for (int64_t a = rows.begin[row]; a < rows.begin[row + 1]; ++a) {
        if (rows.column[a] != c) continue;
        out.column.push_back(static_cast<int32_t>(row - queries));
        out.value.push_back(rows.value[a]);
      }
    }
    out.begin.push_back(static_cast<int64_t>(out.column.size()));
  }
  return out;
}

bool check_distances(Source& random, const RerankData& data, const RerankProblem& encoding,
                     const crosscam::SparseRows& rows, const Dense& weights) {
  crosscam::RerankDistances p;
  p.query_count = random.below(data.count + 1);
  p.gallery_count = data.count - p.query_count;
  const auto columns = transposed(rows, p.query_count, data.count);
  p.metric = data.metric();
  p.weights = {rows.begin.data(), rows.column.data(), rows.value.data()};
  p.by_column = {columns.begin.data(), columns.column.data(), columns.value.data()};
  p.lambda = 0.25f * static_cast<float>(random.below(5));
  p.threads = encoding.threads;
  p.simd = encoding.simd;
  const int64_t begin = random.below(p.query_count + 1), end = random.between(begin, p.query_count);
  const int64_t k = random.below(p.gallery_count + 4);
  std::vector<float> found(static_cast<size_t>((end - begin) * p.gallery_count), -7.0f);
  std::vector<float> best(static_cast<size_t>((end - begin) * k), -7.0f);
  std::vector<int64_t> index(best.size(), -7);
  found.reserve(1);
  crosscam::rerank_distances(p, begin, end, found.data(), k, best.data(), index.data());
  for (int64_t q = begin; q < end; ++q) {
    const float* const row = found.data() + (q - begin) * p.gallery_count;
    std::vector<int64_t> order(static_cast<size_t>(p.gallery_count));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [=](int64_t a, int64_t b) { return row[a] < row[b]; });
    for (int64_t g = 0; g < p.gallery_count; ++g) {
      double least = 0.0, most = 0.0;
      for (size_t c = 0; c < weights.size(); ++c) {
        const double a = weights[static_cast<size_t>(q)][c];
        const double b = weights[static_cast<size_t>(p.query_count + g)][c];
        least += std::min(a, b);
        most += std::max(a, b);
      }
      const float d = p.metric.distance(q, data.similarity(q, p.query_count + g));
      const double want = (1.0 - p.lambda) * (1.0 - least / most) + p.lambda * d;
      if (!(std::abs(row[g] - want) < 4e-6)) return fail("wrong distance", q, g);
    }
    for (int64_t a = 0; a < k; ++a) {
      const auto at = static_cast<size_t>((q - begin) * k + a);
      const bool real = a < p.gallery_count;
      const int64_t g = real ? order[static_cast<size_t>(a)] : -1;
      if (index[at] != g) return fail("wrong order", q, a);
      if (best[at] != (real ? row[g] : std::numeric_limits<float>::infinity())) {
        return fail("wrong best distance", q, a);
      }
    }
  }
  return true;
}

}  // namespace

bool fuzz_one(Source& random) {
  const int64_t count = random.one_in(3) ? random.between(1, 8) : random.between(1, 90);
  const RerankData data(count, random.between(2, 20), static_cast<uint32_t>(random.next()));
  RerankProblem p;
  draw(random, p);
  p.count = count;
  p.metric = data.metric();
  const int64_t all = p.k1 + 1, intra = p.k1_intra + 1, inter = p.k1_inter + 1;
  const Lists any = data.lists(all, crosscam::CameraRule::kAny);
  const Lists same = data.lists(intra, crosscam::CameraRule::kOnlySame);
  const Lists other = data.lists(inter, crosscam::CameraRule::kExcludeSame);
  p.all = any.view(all);
  p.intra = same.view(intra);
  p.inter = other.view(inter);
  const Dense want = crosscam::plain::expected(data, p);
  const crosscam::SparseRows rows = crosscam::rerank_encode(p);
  if (check_encoding(rows, want) && check_distances(random, data, p, rows, want)) return true;
  std::fprintf(stderr, "N=%lld camera_aware=%d k1=%lld,%lld k2=%lld level=%s\n",
               static_cast<long long>(count), p.camera_aware ? 1 : 0, static_cast<long long>(p.k1),
               static_cast<long long>(p.half_k1), static_cast<long long>(p.k2),
               crosscam::simd_name(p.simd));
  return false;
}
