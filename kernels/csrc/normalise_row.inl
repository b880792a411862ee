// One row of `normalise_quantise` for the instruction set CROSSCAM_ISA. Plain loops over blocks of 16
// elements, which the compiler turns into vectors of whatever width the flags of the file allow;
// none of the operations depends on that width.

namespace crosscam::CROSSCAM_ISA {
namespace {

constexpr int kBlock = 16;
constexpr float kInfinity = __builtin_inff();
// Adding 1.5 * 2^23 leaves no fraction bits: the sum is rounded to an integer, halves to even, which
// stands in its low bits. Holds for magnitudes up to 2^22; here they are at most 127.
constexpr float kRound = 12582912.0f;

inline void largest_of(const float* x, float* largest, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float magnitude = __builtin_fabsf(x[i]);
    // A NaN counts as infinite: it fails the comparison.
    const float m = magnitude < kInfinity ? magnitude : kInfinity;
    largest[i] = largest[i] < m ? m : largest[i];
  }
}

inline void quantise(const float* x, float divisor, float* squares, int8_t* codes, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float y = x[i] / divisor;
    squares[i] += y * y;
    const float shifted = y * 127.0f + kRound;
    int32_t bits;
    __builtin_memcpy(&bits, &shifted, sizeof(bits));
    codes[i] = static_cast<int8_t>(bits & 0xFF);
  }
}

/// Writes the codes of one row and returns its scale.
float normalise_row(const float* x, int64_t dim, int8_t* codes) {
  const int64_t whole = dim - dim % kBlock;
  float largest[kBlock] = {};
  for (int64_t d = 0; d < whole; d += kBlock) largest_of(x + d, largest, kBlock);
  largest_of(x + whole, largest, dim - whole);
  float peak = 0.0f;
  for (const float m : largest) peak = peak < m ? m : peak;
  if (!(peak < kInfinity)) {
    __builtin_memset(codes, 0, static_cast<size_t>(dim));
    return __builtin_nanf("");
  }
  const float divisor = peak > 0.0f ? peak : 1.0f;
  float squares[kBlock] = {};
  for (int64_t d = 0; d < whole; d += kBlock) quantise(x + d, divisor, squares, codes + d, kBlock);
  quantise(x + whole, divisor, squares, codes + whole, dim - whole);
  for (int width = kBlock / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) squares[i] += squares[i + width];
  }
  if (!(squares[0] > 0.0f)) return 0.0f;
  return 1.0f / (127.0f * __builtin_sqrtf(squares[0]));
}

}  // namespace

extern const NormaliseKernel normalise;
constinit const NormaliseKernel normalise = {normalise_row};

}  // namespace crosscam::CROSSCAM_ISA
