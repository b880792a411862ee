// The selection of batch_hard in one tile, written once with the vector extension of GCC and Clang:
// it needs integer masks, of which the vector type V of the including file knows nothing.

namespace crosscam::CROSSCAM_ISA {

extern const HardestKernel hardest;

namespace {

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

template <typename Vector, typename Element>
inline Vector load_as(const Element* p) {
  Vector v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <typename Vector, typename Element>
inline void store_as(Element* p, Vector v) {
  __builtin_memcpy(p, &v, sizeof v);
}

/// `a` where the mask is set, else `b`.
inline Ints select(Ints mask, Ints a, Ints b) { return (a & mask) | (b & ~mask); }
inline Floats select(Ints mask, Floats a, Floats b) {
  return (Floats)select(mask, (Ints)a, (Ints)b);
}

inline bool any(Ints mask) {
  int32_t lanes[kLanes];
  store_as(lanes, mask);
  int32_t all = 0;
  for (int i = 0; i < kLanes; ++i) all |= lanes[i];
  return all != 0;
}

/// The best of the lanes; of equal values the one with the smallest index.
template <typename Harder>
inline void reduce(Floats values, Ints indices, float& best_value, int32_t& best_index,
                   Harder harder) {
  float value[kLanes];
  int32_t index[kLanes];
  store_as(value, values);
  store_as(index, indices);
  for (int i = 0; i < kLanes; ++i) {
    if (index[i] < 0) continue;  // this lane still holds what was known before
    const bool tie = value[i] == best_value && index[i] < best_index;
    if (harder(value[i], best_value) || tie) {
      best_value = value[i];
      best_index = index[i];
    }
  }
}

template <bool kCosine, bool kBothSides>
void select_tile(const HardestTile& job) {
  constexpr float kInfinity = __builtin_inff();
  const Ints zeros = {};
  Ints steps;
  for (int i = 0; i < kLanes; ++i) steps[i] = i;
  for (int64_t r = 0; r < job.rows; ++r) {
    const float* const products = job.products + r * job.stride;
    const int32_t row = job.first_row + static_cast<int32_t>(r);
    Floats positive = job.row_best.positive_value[r] + Floats{};
    Floats negative = job.row_best.negative_value[r] + Floats{};
    Ints positive_index = zeros - 1, negative_index = zeros - 1;
    Ints found_positive = zeros, found_negative = zeros;
    for (int64_t c = 0; c < job.columns; c += kLanes) {
      const Floats p = load_as<Floats>(products + c);
      const Floats norm = load_as<Floats>(job.column_norm + c);
      Floats value;
      if constexpr (kCosine) {
        value = 1.0f - p * (job.row_norm[r] * norm);
      } else {
        value = (job.row_norm[r] + norm) - 2.0f * p;
      }
      const Ints column = steps + (job.first_column + static_cast<int32_t>(c));
      const Ints usable = (value < kInfinity) & (value > -kInfinity) & (column != job.row_self[r]);
      value = select(value < 0.0f, Floats{}, value);
      const Ints same_label = load_as<Ints>(job.column_label + c) == job.row_label[r];
      const Ints same_camera = load_as<Ints>(job.column_camera + c) == job.row_camera[r];
      const Ints as_positive = usable & same_label &
                               ((same_camera & job.positive_same) |
                                (~same_camera & job.positive_cross));
      const Ints as_negative = usable & ~same_label &
                               ((same_camera & job.negative_same) |
                                (~same_camera & job.negative_cross));
      // Strict: of equal values the first, which has the smaller index, stays.
      const Ints farther = as_positive & (value > positive);
      const Ints nearer = as_negative & (value < negative);
      positive = select(farther, value, positive);
      positive_index = select(farther, column, positive_index);
      negative = select(nearer, value, negative);
      negative_index = select(nearer, column, negative_index);
      found_positive |= farther;
      found_negative |= nearer;
      if constexpr (kBothSides) {
        const HardestColumns& best = *job.column_best;
        const Floats old_positive = load_as<Floats>(best.positive_value + c);
        const Ints up = as_positive & (value > old_positive);
        if (any(up)) {
          store_as(best.positive_value + c, select(up, value, old_positive));
          store_as(best.positive_index + c,
                   select(up, zeros + row, load_as<Ints>(best.positive_index + c)));
        }
        const Floats old_negative = load_as<Floats>(best.negative_value + c);
        const Ints down = as_negative & (value < old_negative);
        if (any(down)) {
          store_as(best.negative_value + c, select(down, value, old_negative));
          store_as(best.negative_index + c,
                   select(down, zeros + row, load_as<Ints>(best.negative_index + c)));
        }
      }
    }
    if (any(found_positive)) {
      reduce(positive, positive_index, job.row_best.positive_value[r],
             job.row_best.positive_index[r], [](float a, float b) { return a > b; });
    }
    if (any(found_negative)) {
      reduce(negative, negative_index, job.row_best.negative_value[r],
             job.row_best.negative_index[r], [](float a, float b) { return a < b; });
    }
  }
}

void select_hardest(const HardestTile& job) {
  if (job.cosine) {
    job.column_best ? select_tile<true, true>(job) : select_tile<true, false>(job);
  } else {
    job.column_best ? select_tile<false, true>(job) : select_tile<false, false>(job);
  }
}

}  // namespace

constinit const HardestKernel hardest = {&select_hardest};

}  // namespace crosscam::CROSSCAM_ISA
