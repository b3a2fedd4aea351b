// Codes, scales and zeros of weights as vectors of 512 bits.
#pragma once

#include <immintrin.h>

#include "kernels/packed_weights.hpp"

namespace tersor {
namespace {

// Codes and `value` more for every bit that is set of 64.
TERSOR_INLINE inline __m512i with_last_bits(__m512i codes, const std::uint8_t* from, char value) {
  std::uint64_t bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return _mm512_mask_add_epi8(codes, bits, codes, _mm512_set1_epi8(value));
}

TERSOR_INLINE inline void unpack_fours(const std::uint8_t* from, __m512i& first, __m512i& second) {
  const __m512i both = _mm512_loadu_si512(from), mask = _mm512_set1_epi8(15);
  first = _mm512_and_si512(both, mask);
  second = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
}

TERSOR_INLINE inline void unpack_twos(const std::uint8_t* from, __m512i& first, __m512i& second) {
  const __m512i shifts = _mm512_set_epi64(2, 2, 2, 2, 0, 0, 0, 0), mask = _mm512_set1_epi8(3);
  const __m512i all = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  const __m512i turned = _mm512_srlv_epi64(all, shifts);
  first = _mm512_and_si512(turned, mask);
  second = _mm512_and_si512(_mm512_srli_epi64(turned, 4), mask);
}

// The halves of a chunk, a code to a byte.
template <unsigned kBits>
TERSOR_INLINE inline void unpack(const std::uint8_t* from, __m512i& first, __m512i& second) {
  if (kBits == 8) {
    first = _mm512_loadu_si512(from);
    second = _mm512_loadu_si512(from + 64);
  } else if (kBits < 4) {
    unpack_twos(from, first, second);
  } else {
    unpack_fours(from, first, second);
  }
  if (kBits == 3 || kBits == 5) {
    first = with_last_bits(first, from + last_bits(kBits, 0), 1 << (kBits - 1) % 8);
    second = with_last_bits(second, from + last_bits(kBits, 1), 1 << (kBits - 1) % 8);
  }
  if (kBits == 6) {
    __m512i last[2];
    unpack_twos(from + kLastTwoBits, last[0], last[1]);
    first = _mm512_or_si512(first, _mm512_slli_epi16(last[0], 4));
    second = _mm512_or_si512(second, _mm512_slli_epi16(last[1], 4));
  }
}

TERSOR_INLINE inline __m512 halves_at(const std::uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

TERSOR_INLINE inline __m512 scales_at(const PackedWeights& w, std::size_t parameter) {
  const GroupParameters& of = w.scales;
  if (of.narrow != nullptr) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(of.narrow + parameter));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  if (of.steps != nullptr) {
    const __m128i steps = _mm_loadu_si128(reinterpret_cast<const __m128i*>(of.steps + parameter));
    const __m512 times = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(steps));
    return _mm512_mul_ps(halves_at(of.half + of.shared(parameter)), times);
  }
  return of.half != nullptr ? halves_at(of.half + parameter) : _mm512_loadu_ps(of.wide + parameter);
}

TERSOR_INLINE inline __m512i zeros_at(const PackedWeights& w, std::size_t parameter) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.zeros + parameter)));
}

// The lanes of a panel that are rows.
TERSOR_INLINE inline __mmask16 rows_of(const PackedWeights& w, std::size_t panel) {
  const std::size_t left = w.rows - panel * kPanelRows;
  return left >= kPanelRows ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
}

// Read by itself, so that it is broadcast by the load and not by way of a general register.
TERSOR_INLINE inline __m512i four_codes(const std::int8_t* from) {
  std::int32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return _mm512_set1_epi32(four);
}

}  // namespace
}  // namespace tersor
