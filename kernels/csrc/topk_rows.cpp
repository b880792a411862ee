#include "topk_rows.h"

#include <cstring>

namespace crosscam {
namespace {

bool needs_copy(const TopkProblem& problem, TopkWord word) {
  switch (word) {
    case TopkWord::kFloatLanes:
      return false;
    case TopkWord::kFloatChain:
      return problem.gallery.element != Element::kFloat32;
    case TopkWord::kBf16Pair:
      return problem.gallery.element != Element::kBfloat16 || problem.dim % 2 != 0;
    case TopkWord::kInt8Quad:
      return problem.dim % 4 != 0;  // the last word would reach into the next row
  }
  return true;
}

}  // namespace

RowSource::RowSource(const TopkProblem& problem, const TopkEngine& engine, int slots, float limit)
    : problem_(problem),
      word_(engine.word),
      rows_(row_kernels(problem.simd)),
      narrow_(narrow_kernels(problem.simd)),
      copies_(needs_copy(problem, engine.word)),
      limit_(limit),
      slot_bytes_(engine.words(problem.dim) * int64_t{sizeof(uint32_t)}) {
  const bool measures = word_ == TopkWord::kFloatLanes;  // in `norm`, though nothing is copied
  if (copies_ || measures) {
    scratch_.resize(static_cast<size_t>((copies_ ? slots : 1) * engine.words(problem.dim)));
  }
}

bool RowSource::prepare(int64_t row, int slot, const void** words) {
  void* const to =
      copies_ ? reinterpret_cast<char*>(scratch_.data()) + slot * slot_bytes_ : nullptr;
  return convert(problem_.gallery.row(row), row, to, words) <= limit_ || limit_ < 0.0f;
}

float RowSource::norm(int64_t row) {
  const void* words = nullptr;
  return convert(problem_.gallery.row(row), row, scratch_.data(), &words);
}

float RowSource::convert(const void* from, int64_t row, void* slot, const void** words) const {
  const int64_t dim = problem_.dim;
  const bool measured = limit_ >= 0.0f;
  *words = copies_ ? slot : from;
  switch (word_) {
    case TopkWord::kFloatLanes:
      if (measured && problem_.gallery.element == Element::kInt8) {
        const float scale = problem_.gallery_scale[row];
        return rows_.norm_int8(static_cast<const int8_t*>(from), dim) * scale * scale;
      }
      if (measured) {
        const float* const wide =
            widened(problem_.gallery, row, dim, rows_, static_cast<float*>(slot));
        return rows_.dot(wide, wide, dim);
      }
      return 0.0f;  // its kernels measure
    case TopkWord::kFloatChain: {
      const float* const wide =
          widened(problem_.gallery, row, dim, rows_, static_cast<float*>(slot));
      return measured ? rows_.dot(wide, wide, dim) : 0.0f;
    }
    case TopkWord::kBf16Pair: {
      const auto* const half = static_cast<const uint16_t*>(from);
      auto* const out = static_cast<uint16_t*>(slot);
      if (problem_.gallery.element == Element::kFloat32) {
        return narrow_.fp32(static_cast<const float*>(from), dim, out);
      }
      if (problem_.gallery.element == Element::kFloat16) return narrow_.fp16(half, dim, out);
      if (copies_) {
        std::memcpy(out, half, static_cast<size_t>(dim) * sizeof(uint16_t));
        out[dim] = 0;
      }
      return narrow_.bf16(half, dim);
    }
    case TopkWord::kInt8Quad: {
      if (copies_) {
        std::memset(static_cast<char*>(slot) + slot_bytes_ - 4, 0, 4);
        std::memcpy(slot, from, static_cast<size_t>(dim));
      }
      const float scale = problem_.gallery_scale[row];
      return measured ? rows_.norm_int8(static_cast<const int8_t*>(from), dim) * scale * scale
                      : 0.0f;
    }
  }
  return 0.0f;
}

const float* widened(const RowMatrix& matrix, int64_t row, int64_t dim, const RowKernels& kernels,
                     float* scratch) {
  const void* const from = matrix.row(row);
  if (matrix.element == Element::kFloat32) return static_cast<const float*>(from);
  const auto* const half = static_cast<const uint16_t*>(from);
  (matrix.element == Element::kBfloat16 ? kernels.widen_bf16 : kernels.widen_fp16)(half, dim,
                                                                                   scratch);
  return scratch;
}

}  // namespace crosscam
