#include "retrieval.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "rank_key.h"

namespace {

using crosscam::RetrievalLabels;
using crosscam::RetrievalProtocol;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Figures {
  explicit Figures(size_t count)
      : ap(count, 12345.0), first(count, 12345), last(first), positives(first) {}
  crosscam::RetrievalResult result() {
    return {ap.data(), first.data(), last.data(), positives.data()};
  }
  std::vector<double> ap;
  std::vector<int64_t> first, last, positives;
};

/// Random data in vectors of exactly the needed size, so that a sanitizer sees every overrun.
struct Data {
  Data(int64_t queries, int64_t gallery, int64_t dim, int64_t ids, uint32_t seed) : dim(dim) {
    std::mt19937 random(seed);
    const auto below = [&](int64_t n) { return static_cast<int64_t>(random()) % n; };
    for (int64_t i = 0; i < queries * dim; ++i) query.push_back(static_cast<float>(below(5) - 2));
    for (int64_t i = 0; i < gallery * dim; ++i) rows.push_back(static_cast<float>(below(5) - 2));
    for (int64_t q = 0; q < queries; ++q) {
      for (auto* label : {&query_id, &query_group, &query_clothes}) {
        label->push_back(below(label == &query_id ? ids : 3));
      }
    }
    for (int64_t g = 0; g < gallery; ++g) {
      for (auto* label : {&gallery_id, &gallery_group, &gallery_clothes}) {
        label->push_back(below(label == &gallery_id ? ids : 3));
      }
      valid.push_back(below(6) != 0);
    }
  }

  RetrievalLabels labels(RetrievalProtocol protocol) const {
    RetrievalLabels labels;
    labels.query_id = query_id.data();
    labels.gallery_id = gallery_id.data();
    labels.query_group = query_group.data();
    labels.gallery_group = gallery_group.data();
    labels.query_clothes = query_clothes.data();
    labels.gallery_clothes = gallery_clothes.data();
    labels.valid = valid.data();
    labels.query_count = static_cast<int64_t>(query_id.size());
    labels.gallery_count = static_cast<int64_t>(gallery_id.size());
    labels.protocol = protocol;
    return labels;
  }

  float score(int64_t q, int64_t g) const {
    float sum = 0.0f;
    for (int64_t d = 0; d < dim; ++d) sum = std::fma(rows[g * dim + d], query[q * dim + d], sum);
    return sum;
  }

  int64_t dim;
  std::vector<float> query, rows;
  std::vector<int64_t> query_id, gallery_id, query_group, gallery_group, query_clothes,
      gallery_clothes;
  std::vector<uint8_t> valid;
};

bool right_answer(const RetrievalLabels& l, int64_t q, int64_t g) {
  const bool other_group = l.query_group[q] != l.gallery_group[g];
  const bool same_clothes = l.query_clothes[q] == l.gallery_clothes[g];
  switch (l.protocol) {
    case RetrievalProtocol::kAny:
      return true;
    case RetrievalProtocol::kStandard:
      return other_group;
    case RetrievalProtocol::kClothesChanging:
      return other_group && !same_clothes;
    case RetrievalProtocol::kSameClothes:
      return other_group && same_clothes;
  }
  return false;
}

/// The definition: sort, then walk.
void check_against_sort(const Data& data, RetrievalProtocol protocol, Figures& found) {
  const RetrievalLabels l = data.labels(protocol);
  for (int64_t q = 0; q < l.query_count; ++q) {
    std::vector<int64_t> order;
    for (int64_t g = 0; g < l.gallery_count; ++g) {
      const bool own = l.query_id[q] == l.gallery_id[g];
      if (l.valid[g] != 0 && (!own || right_answer(l, q, g))) order.push_back(g);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return data.score(q, a) > data.score(q, b); });
    int64_t first = 0, last = 0, positives = 0;
    double sum = 0.0;
    for (size_t i = 0; i < order.size(); ++i) {
      if (l.gallery_id[order[i]] != l.query_id[q]) continue;
      last = static_cast<int64_t>(i) + 1;
      if (++positives == 1) first = last;
      sum += static_cast<double>(positives) / static_cast<double>(last);
    }
    const auto at = static_cast<size_t>(q);
    CHECK(found.first[at] == first);
    CHECK(found.last[at] == last);
    CHECK(found.positives[at] == positives);
    if (positives == 0) {
      CHECK(std::isnan(found.ap[at]));
    } else {
      CHECK(found.ap[at] == sum / static_cast<double>(positives));
    }
  }
}

void every_protocol_and_way(const Data& data) {
  for (const auto protocol :
       {RetrievalProtocol::kAny, RetrievalProtocol::kStandard, RetrievalProtocol::kClothesChanging,
        RetrievalProtocol::kSameClothes}) {
    const RetrievalLabels labels = data.labels(protocol);
    crosscam::RetrievalFeatures features;
    features.queries = data.query.data();
    features.gallery = data.rows.data();
    features.query_stride = features.gallery_stride = features.dim = data.dim;
    for (const auto level : crosscam::simd_levels()) {
      for (const int threads : {1, 3}) {
        Figures found(data.query_id.size());
        crosscam::retrieval_ranks(labels, features, threads, level, found.result());
        check_against_sort(data, protocol, found);
      }
    }
    std::vector<float> distances;
    for (int64_t q = 0; q < labels.query_count; ++q) {
      for (int64_t g = 0; g < labels.gallery_count; ++g) distances.push_back(-data.score(q, g));
    }
    Figures found(data.query_id.size());
    crosscam::retrieval_ranks(labels, distances.data(), labels.gallery_count, 2, found.result());
    check_against_sort(data, protocol, found);
  }
}

void keys_order_scores_and_give_them_back() {
  const float scores[] = {kInfinity, 3.0f, 1e-45f, 0.0f, -1e-45f, -2.5f, -kInfinity};
  for (size_t i = 0; i + 1 < std::size(scores); ++i) {
    CHECK(crosscam::rank_key(scores[i], 7) > crosscam::rank_key(scores[i + 1], 0));
    CHECK(crosscam::key_score(crosscam::rank_key(scores[i], 3)) == scores[i]);
  }
  CHECK(crosscam::rank_key(1.0f, 3) > crosscam::rank_key(1.0f, 4));
  CHECK(crosscam::rank_key(-0.0f, 3) == crosscam::rank_key(0.0f, 3));
  CHECK(crosscam::rank_key(-0.0f, 0xFFFFFFFF) < crosscam::rank_key(0.0f, 0));
  const float nan = std::nanf("");
  CHECK(crosscam::rank_key(-kInfinity, 0xFFFFFFFF) > crosscam::rank_key(nan, 0));
  CHECK(crosscam::rank_key(nan, 1) == crosscam::rank_key(-nan, 1));
  CHECK(std::isnan(crosscam::key_score(crosscam::rank_key(nan, 5))));
}

}  // namespace

int main() {
  keys_order_scores_and_give_them_back();
  uint32_t seed = 0;
  for (const int64_t queries : {0, 1, 17, 130}) {
    for (const int64_t gallery : {0, 1, 30, 201}) {
      for (const int64_t dim : {1, 16, 19}) {
        every_protocol_and_way(Data(queries, gallery, dim, 9, ++seed));
      }
    }
  }
  every_protocol_and_way(Data(140, 600, 5, 40, 99));
  every_protocol_and_way(Data(70, 800, 5, 1, 98));
  return 0;
}
