#include "retrieval.h"

#include <stdexcept>
#include <string>

#include "arrays.h"

namespace crosscam::python {
namespace {

using Labels = Column<int64_t>;

RetrievalProtocol retrieval_protocol(const std::string& name) {
  if (name == "any") return RetrievalProtocol::kAny;
  if (name == "standard") return RetrievalProtocol::kStandard;
  if (name == "clothes_changing") return RetrievalProtocol::kClothesChanging;
  if (name == "same_clothes") return RetrievalProtocol::kSameClothes;
  throw std::invalid_argument("unknown protocol '" + name + "'");
}

RetrievalMetric retrieval_metric(const std::string& name) {
  if (name == "inner_product") return RetrievalMetric::kInnerProduct;
  if (name == "cosine") return RetrievalMetric::kCosine;
  if (name == "euclidean") return RetrievalMetric::kEuclidean;
  throw std::invalid_argument("unknown metric '" + name + "'");
}

void run_retrieval_ranks(
    const std::optional<Rows>& queries, const std::optional<Rows>& gallery,
    const std::optional<Rows>& distances, const std::string& metric, const Labels& query_id,
    const Labels& gallery_id, const std::optional<Labels>& query_group,
    const std::optional<Labels>& gallery_group, const std::optional<Labels>& query_clothes,
    const std::optional<Labels>& gallery_clothes, const std::optional<Column<uint8_t>>& valid,
    const std::string& protocol, int threads, const std::string& simd,
    const Output<double, 1>& average_precision, const Output<int64_t, 1>& first_rank,
    const Output<int64_t, 1>& last_rank, const Output<int64_t, 1>& positives) {
  RetrievalLabels labels;
  labels.query_id = query_id.data();
  labels.gallery_id = gallery_id.data();
  labels.query_group = data_or_null(query_group);
  labels.gallery_group = data_or_null(gallery_group);
  labels.query_clothes = data_or_null(query_clothes);
  labels.gallery_clothes = data_or_null(gallery_clothes);
  labels.valid = data_or_null(valid);
  labels.query_count = static_cast<int64_t>(query_id.shape(0));
  labels.gallery_count = static_cast<int64_t>(gallery_id.shape(0));
  labels.protocol = retrieval_protocol(protocol);
  const RetrievalResult result{average_precision.data(), first_rank.data(), last_rank.data(),
                               positives.data()};
  if (distances) {
    const float* const data = distances->data();
    const int64_t stride = distances->stride(0);
    const nb::gil_scoped_release release;
    retrieval_ranks(labels, data, stride, threads, result);
    return;
  }
  RetrievalFeatures features;
  features.queries = queries.value().data();
  features.query_stride = queries->stride(0);
  features.gallery = gallery.value().data();
  features.gallery_stride = gallery->stride(0);
  features.dim = static_cast<int64_t>(queries->shape(1));
  features.metric = retrieval_metric(metric);
  const SimdLevel level = simd_level(simd);
  const nb::gil_scoped_release release;
  retrieval_ranks(labels, features, threads, level, result);
}

}  // namespace

void bind_retrieval(nb::module_& module) {
  module.def("retrieval_ranks", &run_retrieval_ranks, nb::kw_only(), "queries"_a.noconvert().none(),
             "gallery"_a.noconvert().none(), "distances"_a.noconvert().none(), "metric"_a,
             "query_id"_a.noconvert(), "gallery_id"_a.noconvert(),
             "query_group"_a.noconvert().none(), "gallery_group"_a.noconvert().none(),
             "query_clothes"_a.noconvert().none(), "gallery_clothes"_a.noconvert().none(),
             "valid"_a.noconvert().none(), "protocol"_a, "threads"_a, "simd"_a,
             "average_precision"_a.noconvert(), "first_rank"_a.noconvert(),
             "last_rank"_a.noconvert(), "positives"_a.noconvert());
}

}  // namespace crosscam::python
