// Vectors of 16 floats, compiled anew for every level into what its registers hold.
//
// any_width.hpp has the other vectors: those must give the same bits on every machine and choose their width at run
// time, so nothing of theirs may be fused; these give each level what is fastest with it.
//
// A file that defines TERSOR_NEON before it includes this has the vectors of AArch64.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(TERSOR_NEON)
#include "vectors/sixteen_lanes_neon.hpp"
#elif defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

#include "vectors/exponential.hpp"
#include "vectors/inlining.hpp"

namespace tersor {
namespace {

constexpr std::size_t kLanes = 16;

template <typename To, typename From>
TERSOR_INLINE inline To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

template <typename Vector>
TERSOR_INLINE inline Vector larger(Vector a, Vector b);
template <typename Vector>
TERSOR_INLINE inline Vector smaller(Vector a, Vector b);

#if !defined(TERSOR_NEON)

typedef float Floats __attribute__((vector_size(64)));
typedef std::int32_t Ints __attribute__((vector_size(64)));
typedef std::uint32_t Words __attribute__((vector_size(64)));
typedef std::int8_t Bytes __attribute__((vector_size(16)));
typedef std::uint8_t UnsignedBytes __attribute__((vector_size(16)));
typedef std::uint16_t Halves __attribute__((vector_size(32)));

// So many sums at a time, for each of four queries or tokens.
constexpr std::size_t kSumsTogether = 4;

template <typename Vector, typename T>
TERSOR_INLINE inline Vector loaded(const T* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

// A vector whose halves are the same.
template <typename Vector, typename T>
TERSOR_INLINE inline Vector twice(const T* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof vector / 2);
  __builtin_memcpy(reinterpret_cast<char*>(&vector) + sizeof vector / 2, from, sizeof vector / 2);
  return vector;
}

template <typename Vector, typename T>
TERSOR_INLINE inline void put(T* to, Vector vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

// The compiler would load a vector anew for every use of it.
#if defined(__AVX512BW__)
#define TERSOR_KEEP(vector) asm volatile("" : "+v"(vector))
#else
#define TERSOR_KEEP(vector) static_cast<void>(vector)
#endif

// Of two vectors, a where a comparison holds and b elsewhere. No function: classes have no such operator to
// overload, and the compiler does better with the operator itself.
#define TERSOR_CHOOSE(where, a, b) ((where) ? (a) : (b))

TERSOR_INLINE inline Floats floats_of(Ints values) { return __builtin_convertvector(values, Floats); }
TERSOR_INLINE inline Floats floats_of(Bytes values) { return __builtin_convertvector(values, Floats); }
TERSOR_INLINE inline Floats floats_of(UnsignedBytes values) { return __builtin_convertvector(values, Floats); }
TERSOR_INLINE inline Words words_of(Halves values) { return __builtin_convertvector(values, Words); }
TERSOR_INLINE inline Ints ints_of(Floats values) { return __builtin_convertvector(values, Ints); }

// The lowest bits of every lane.
#if defined(__AVX512F__)
TERSOR_INLINE inline Halves halves_of(Ints values) {
  return same_bits<Halves>(_mm512_cvtepi32_epi16(same_bits<__m512i>(values)));
}
TERSOR_INLINE inline Bytes bytes_of(Ints values) {
  return same_bits<Bytes>(_mm512_cvtepi32_epi8(same_bits<__m512i>(values)));
}
#else
TERSOR_INLINE inline Halves halves_of(Ints values) { return __builtin_convertvector(values, Halves); }
TERSOR_INLINE inline Bytes bytes_of(Ints values) { return __builtin_convertvector(values, Bytes); }
#endif

// The lanes that lie 8, 4, 2 and 1 further on.
template <typename Vector>
TERSOR_INLINE inline Vector shifted(Vector vector, int by) {
  const Ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return __builtin_shuffle(vector, (lane + by) & 15);
}

template <typename Vector>
TERSOR_INLINE inline auto sum_of(Vector vector) {
  vector += shifted(vector, 8);
  vector += shifted(vector, 4);
  vector += shifted(vector, 2);
  vector += shifted(vector, 1);
  return vector[0];
}

template <typename Vector>
TERSOR_INLINE inline auto largest_of(Vector vector) {
  vector = larger(vector, shifted(vector, 8));
  vector = larger(vector, shifted(vector, 4));
  vector = larger(vector, shifted(vector, 2));
  vector = larger(vector, shifted(vector, 1));
  return vector[0];
}

// table[index], lane by lane.
TERSOR_INLINE inline Floats looked_up(Floats table, Ints index) { return __builtin_shuffle(table, index); }

#endif

// b where it is larger, or smaller; a elsewhere, and if a or b is not a number.
template <typename Vector>
TERSOR_INLINE inline Vector larger(Vector a, Vector b) {
  return TERSOR_CHOOSE(b > a, b, a);
}

template <typename Vector>
TERSOR_INLINE inline Vector smaller(Vector a, Vector b) {
  return TERSOR_CHOOSE(b < a, b, a);
}

TERSOR_INLINE inline Floats all(float value) { return Floats{} + value; }

// The first `count` lanes; others are 0.
TERSOR_INLINE inline Floats loaded_some(const float* from, std::size_t count) {
  if (count >= kLanes) return loaded<Floats>(from);
  float lanes[kLanes] = {};
  __builtin_memcpy(lanes, from, count * sizeof(float));
  return loaded<Floats>(lanes);
}

TERSOR_INLINE inline void put_some(float* to, Floats vector, std::size_t count) {
  if (count >= kLanes) return put(to, vector);
  __builtin_memcpy(to, &vector, count * sizeof(float));
}

TERSOR_INLINE inline Floats from_bfloat16(Halves bits) {
  const Words words = words_of(bits) << 16;
  return same_bits<Floats>(words);
}

// The nearest bfloat16, ties to even, as a float; what is not a number stays one.
TERSOR_INLINE inline Floats rounded_to_bfloat16(Floats values) {
  const Words bits = same_bits<Words>(values);
  const Words rounded = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  return same_bits<Floats>(TERSOR_CHOOSE(values == values, rounded, bits | 0x00400000));
}

TERSOR_INLINE inline Halves high_halves(Floats values) {
  return halves_of(same_bits<Ints>(same_bits<Words>(values) >> 16));
}

// The largest magnitude; NaN if there is one, because magnitudes are compared as integers.
[[maybe_unused]] float largest_magnitude(const float* x, std::size_t size) {
  Ints largest = {};
  std::size_t k = 0;
  for (; k < size; k += kLanes) {
    const Ints bits = same_bits<Ints>(loaded_some(x + k, size - k)) & 0x7fffffff;
    largest = TERSOR_CHOOSE(bits > largest, bits, largest);
  }
  return same_bits<float>(largest_of(largest));
}

// Adding it and taking it away rounds to an integer, ties to even.
constexpr float kRounding = 12582912.0f;

// What is within 2^22, once that was added: its lowest bits are those of the nearest integer, which is more by this.
constexpr std::int32_t kRoundingBits = 0x4b400000;
TERSOR_INLINE inline Ints bits_of_rounded(Floats x) { return same_bits<Ints>(x + kRounding); }

// x * 2^whole; NaN if x is.
TERSOR_INLINE inline Floats with_exponent(Floats x, Floats whole) {
#if defined(__AVX512F__)
  return same_bits<Floats>(_mm512_scalef_ps(same_bits<__m512>(x), same_bits<__m512>(whole)));
#else
  const Ints result = same_bits<Ints>(x) + (ints_of(whole) << 23);
  return TERSOR_CHOOSE(x == x, same_bits<Floats>(result), x);
#endif
}

TERSOR_INLINE inline bool is_any_above(Floats x, float limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(same_bits<__m512>(x), _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
#else
  return largest_of(x) > limit;
#endif
}

// e^x to 2e-7 of it; what would leave the normal floats stays at their ends.
TERSOR_INLINE inline Floats exponential(Floats x) {
  const auto [power, whole] = exponential_parts<Floats>(smaller(larger(x, all(-87.0f)), all(88.0f)));
  return with_exponent(power, whole);
}

TERSOR_INLINE inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }

TERSOR_INLINE inline Floats hyperbolic_tangent(Floats x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

}  // namespace
}  // namespace tersor
