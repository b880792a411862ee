// The inner loops of the contrastive losses, written once over the vector type V of the including
// file.

namespace crosscam::CROSSCAM_ISA {

extern const InfonceKernels infonce;

namespace {

/// e^x to 1 unit in the last place or two; NaN for x that is not finite.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial in r (Cephes, expf). Adding 1.5 * 2^23
/// leaves the rounded n in the low bits, from where it goes into the exponent.
inline V exponential(V x) {
  const V bounded = minimum(broadcast(88.0f), maximum(broadcast(-87.0f), x));
  const V rounder = broadcast(12582912.0f);
  const V shifted = fma(bounded, broadcast(1.44269504088896341f), rounder);
  const V n = sub(shifted, rounder);
  V r = fma(n, broadcast(-0.693359375f), bounded);
  r = fma(n, broadcast(2.12194440e-4f), r);
  V p = fma(broadcast(1.9875691500e-4f), r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = add(fma(mul(r, r), p, r), broadcast(1.0f));
  return add(add_to_exponent(p, shifted), sub(x, x));
}

inline uint32_t lane_bits(uint64_t bits, int at) { return static_cast<uint32_t>(bits >> at); }

void add_exponentials(const LseUpdate& job) {
  const ScoreGroup& group = job.group;
  const V scale = broadcast(job.scale);
  const V lowest = broadcast(-3.402823466e38f);
  for (int at = 0; at < group.width; at += kLanes) {
    const V before = load(job.max + at);
    V max = before;
    for (int r = 0; r < group.rows; ++r) {
      const V score = mul(load(group.scores + r * group.width + at), scale);
      max = maximum(max, select(lane_bits(group.allowed[r], at), score, lowest));
    }
    V sum = mul(load(job.sum + at), exponential(sub(before, max)));
    for (int r = 0; r < group.rows; ++r) {
      const V score = load(group.scores + r * group.width + at);
      const V term = exponential(fma(score, scale, sub(zero(), max)));
      sum = add(sum, select(lane_bits(group.allowed[r], at), term, zero()));
    }
    store(job.max + at, max);
    store(job.sum + at, sum);
  }
}

void softmax_weights(const WeightUpdate& job) {
  const ScoreGroup& group = job.group;
  const V scale = broadcast(job.scale);
  for (int at = 0; at < group.width; at += kLanes) {
    const V lse = sub(zero(), load(job.lse + at));
    const V factor = load(job.factor + at);
    const V smooth = sub(zero(), load(job.smooth + at));
    for (int r = 0; r < group.rows; ++r) {
      const V score = load(group.scores + r * group.width + at);
      const V weight = fma(factor, exponential(fma(score, scale, lse)), smooth);
      store(job.weights + r * group.width + at,
            select(lane_bits(group.allowed[r], at), weight, zero()));
    }
  }
}

void hardest_row(const HardestRow& job) {
  for (int at = 0; at < job.width; at += kLanes) {
    const uint32_t own = lane_bits(job.own, at);
    V best = broadcast(-__builtin_inff());
    V index = broadcast(-1.0f);
    for (int r = 0; r < job.rows; ++r) {
      const V score = load(job.scores + r * job.width + at);
      const V ranked = select(own, sub(zero(), score), score);
      const uint32_t harder = greater(ranked, best);
      best = select(harder, ranked, best);
      index = select(harder, broadcast(static_cast<float>(r)), index);
    }
    store(job.score + at, select(own, sub(zero(), best), best));
    store(job.index + at, index);
  }
}

void add_scaled(float weight, const float* row, float* out, int64_t count) {
  const V w = broadcast(weight);
  for (int64_t d = 0; d < count; d += kLanes) store(out + d, fma(w, load(row + d), load(out + d)));
}

}  // namespace

constinit const InfonceKernels infonce = {&add_exponentials, &softmax_weights, &hardest_row,
                                          &add_scaled};

}  // namespace crosscam::CROSSCAM_ISA
