// One row of `normalise_quantise` for the instruction set CROSSCAM_ISA, in blocks of 16 elements: as
// many vectors of kLanes as that takes (vector types of GCC and Clang). No operation depends on
// kLanes.

namespace crosscam::CROSSCAM_ISA {

extern const NormaliseKernel normalise;

namespace {

constexpr int kBlock = 16;
constexpr int kParts = kBlock / kLanes;
typedef float FloatPart __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntPart __attribute__((vector_size(4 * kLanes)));

constexpr float kInfinity = __builtin_inff();
// Adding 1.5 * 2^23 leaves no fraction bits: the sum is rounded to an integer, halves to even, which
// stands in its low bits. Holds for magnitudes up to 2^22; here they are at most 127.
constexpr float kRound = 12582912.0f;

struct Block {
  FloatPart part[kParts];
};

/// Maximum of magnitudes; a NaN counts as infinite, as it fails the comparison.
inline void largest_of(const float* x, Block& largest) {
  for (int i = 0; i < kParts; ++i) {
    FloatPart value;
    __builtin_memcpy(&value, x + i * kLanes, sizeof(value));
    const FloatPart magnitude = value < 0.0f ? -value : value;
    const FloatPart m = magnitude < kInfinity ? magnitude : FloatPart{} + kInfinity;
    largest.part[i] = largest.part[i] < m ? m : largest.part[i];
  }
}

inline void quantise(const float* x, float divisor, Block& squares, int8_t* codes) {
  int32_t bits[kBlock];
  for (int i = 0; i < kParts; ++i) {
    FloatPart value;
    __builtin_memcpy(&value, x + i * kLanes, sizeof(value));
    const FloatPart y = value / divisor;
    squares.part[i] += y * y;
    const FloatPart shifted = y * 127.0f + kRound;
    __builtin_memcpy(bits + i * kLanes, &shifted, sizeof(shifted));
  }
  int8_t bytes[kBlock];
  for (int i = 0; i < kBlock; ++i) bytes[i] = static_cast<int8_t>(bits[i] & 0xFF);
  __builtin_memcpy(codes, bytes, kBlock);
}

/// Folds a block in a tree: elements i and i + 8, then i + 4, ..
template <typename Join>
inline float fold(const Block& block, Join join) {
  float value[kBlock];
  __builtin_memcpy(value, &block, sizeof(value));
  for (int width = kBlock / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) value[i] = join(value[i], value[i + width]);
  }
  return value[0];
}

/// Writes the codes of one row and returns its scale.
float normalise_row(const float* x, int64_t dim, int8_t* codes) {
  const int64_t whole = dim - dim % kBlock;
  const auto rest = static_cast<size_t>(dim - whole);
  float tail[kBlock] = {};
  if (rest != 0) __builtin_memcpy(tail, x + whole, rest * sizeof(float));

  Block largest = {};
  for (int64_t d = 0; d < whole; d += kBlock) largest_of(x + d, largest);
  largest_of(tail, largest);
  const float peak = fold(largest, [](float a, float b) { return a < b ? b : a; });
  if (!(peak < kInfinity)) {
    __builtin_memset(codes, 0, static_cast<size_t>(dim));
    return __builtin_nanf("");
  }
  const float divisor = peak > 0.0f ? peak : 1.0f;
  Block squares = {};
  for (int64_t d = 0; d < whole; d += kBlock) quantise(x + d, divisor, squares, codes + d);
  if (rest != 0) {
    int8_t bytes[kBlock];
    quantise(tail, divisor, squares, bytes);
    __builtin_memcpy(codes + whole, bytes, rest);
  }
  const float total = fold(squares, [](float a, float b) { return a + b; });
  if (!(total > 0.0f)) return 0.0f;
  return 1.0f / (127.0f * __builtin_sqrtf(total));
}

}  // namespace

constinit const NormaliseKernel normalise = {normalise_row};

}  // namespace crosscam::CROSSCAM_ISA
