// Linears with vectors of 256 bits: 8 rows x 4 columns, so a panel takes two. The file that includes this says
// how codes are multiplied.
#pragma once

#include <immintrin.h>

#include "kernels/packed_weights.hpp"

namespace tersor {
namespace {

constexpr int kHalves = 2;

TERSOR_INLINE inline __m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

// The lowest kBits bits of every byte, `shift` bits up.
template <int kBits>
TERSOR_INLINE inline __m256i bits_at(__m256i bytes, int shift) {
  return _mm256_and_si256(_mm256_srli_epi16(bytes, shift), _mm256_set1_epi8((1 << kBits) - 1));
}

// `value` in every byte whose bit is set in 32 of them.
TERSOR_INLINE inline __m256i last_bits_of(const std::uint8_t* from, char value) {
  std::int32_t bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  const __m256i byte = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u));
  const __m256i spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte), bit);
  return _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit), _mm256_set1_epi8(value));
}

// Rows 8h..8h + 7 of a half of a chunk, a code to a byte.
template <unsigned kBits>
TERSOR_INLINE inline __m256i unpacked(const std::uint8_t* chunk, int half, int h) {
  if (kBits == 8) return load(chunk + 64 * half + 32 * h);
  const __m256i low =
      kBits < 4 ? bits_at<2>(load(chunk), 4 * half + 2 * h) : bits_at<4>(load(chunk + 32 * h), 4 * half);
  if (kBits == 6) {
    const __m256i last = bits_at<2>(load(chunk + kLastTwoBits), 4 * half + 2 * h);
    return _mm256_or_si256(low, _mm256_slli_epi16(last, 4));
  }
  if (kBits % 2 == 0) return low;
  const std::uint8_t* const last = chunk + last_bits(kBits, static_cast<std::size_t>(half)) + 4 * h;
  return _mm256_or_si256(low, last_bits_of(last, 1 << (kBits - 1) % 8));
}

TERSOR_INLINE inline __m256i four_codes(const std::int8_t* from) {
  std::int32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return _mm256_set1_epi32(four);
}

// A panel times kTokens tokens. `Multiply::chunks(tile, codes, step, first, last)` adds the products of chunks
// first..last to `sums`.
template <typename Multiply, std::size_t kTokens>
struct HalvesTile {
  const PackedWeights& w;
  const QuantizedTokens& a;
  std::size_t panel, token;

  __m256i sums[kHalves][kTokens];
  __m256 totals[kHalves][kTokens];

  TERSOR_INLINE void run(const Output& out) {
    const std::size_t groups = w.groups(), chunks = w.chunks(), whole = w.group_chunks();
    const std::uint8_t* const codes = w.codes + w.first_chunk(panel);
    const std::size_t step = w.chunk_step(panel);
    start(out);
    for (std::size_t g = 0; g < groups; ++g) {
      for (std::size_t h = 0; h < kHalves; ++h) {
        for (std::size_t t = 0; t < kTokens; ++t) sums[h][t] = _mm256_setzero_si256();
      }
      Multiply::chunks(*this, codes, step, g * whole, g + 1 < groups ? (g + 1) * whole : chunks);
      scale(g, groups);
    }
    store(out);
  }

  TERSOR_INLINE const std::int8_t* activations(std::size_t t, std::size_t c) const {
    return a.codes + ((token + t) * w.chunks() + c) * kChunk;
  }

  TERSOR_INLINE void scale(std::size_t g, std::size_t groups) {
    for (std::size_t h = 0; h < kHalves; ++h) {
      const std::size_t parameter = (panel * groups + g) * kPanelRows + 8 * h;
      const __m256 scales = scales_at(parameter);
      const __m256i zeros =
          w.zeros == nullptr
              ? _mm256_set1_epi32(w.zero)
              : _mm256_cvtepu8_epi32(
                    _mm_loadl_epi64(reinterpret_cast<const __m128i*>(w.zeros + parameter)));
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::size_t index = (token + t) * groups + g;
        const __m256i shift = _mm256_mullo_epi32(zeros, _mm256_set1_epi32(a.sums[index]));
        const __m256 exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums[h][t], shift));
        const __m256 unit = _mm256_mul_ps(scales, _mm256_set1_ps(a.scales[index]));
        totals[h][t] = _mm256_fmadd_ps(exact, unit, totals[h][t]);
      }
    }
  }

  TERSOR_INLINE __m256 scales_at(std::size_t parameter) const {
    const GroupParameters& of = w.scales;
    if (of.wide != nullptr) return _mm256_loadu_ps(of.wide + parameter);
    if (of.narrow != nullptr) {
      const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(of.narrow + parameter));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    }
    if (of.steps == nullptr) return halves_at(of.half + parameter);
    const __m128i steps = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(of.steps + parameter));
    const __m256 times = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(steps));
    return _mm256_mul_ps(halves_at(of.half + of.shared(parameter) + parameter % kPanelRows), times);
  }

  TERSOR_INLINE static __m256 halves_at(const std::uint16_t* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }

  TERSOR_INLINE std::size_t rows_left() const {
    const std::size_t left = w.rows - panel * kPanelRows;
    return left < kPanelRows ? left : kPanelRows;
  }

  TERSOR_INLINE void start(const Output& out) {
    const std::size_t count = out.add ? rows_left() : 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      alignas(32) float rows[kPanelRows] = {};
      __builtin_memcpy(rows, out.row(token + t) + panel * kPanelRows, count * sizeof(float));
      for (std::size_t h = 0; h < kHalves; ++h) totals[h][t] = _mm256_load_ps(rows + 8 * h);
    }
  }

  TERSOR_INLINE void store(const Output& out) const {
    const std::size_t first = panel * kPanelRows, count = rows_left();
    for (std::size_t t = 0; t < kTokens; ++t) {
      float* const to = out.row(token + t) + first;
      alignas(32) float rows[kPanelRows];
      for (std::size_t h = 0; h < kHalves; ++h) _mm256_store_ps(rows + 8 * h, totals[h][t]);
      __builtin_memcpy(to, rows, count * sizeof(float));
    }
  }
};

template <typename Multiply, std::size_t kTokens>
void tokens_times(const PackedWeights& w, const QuantizedTokens& a, std::size_t token,
                  const Output& out, std::size_t first, std::size_t last) {
  for (std::size_t panel = first; panel < last; ++panel) {
    HalvesTile<Multiply, kTokens>{w, a, panel, token, {}, {}}.run(out);
  }
}

template <typename Multiply>
void all_tokens(const PackedWeights& w, const QuantizedTokens& a, const Output& out,
                std::size_t first, std::size_t last) {
  // There are 16 registers: more tokens at a time would not stay in them.
  constexpr std::size_t kTokens = 4, kTogether = 4;
  using Times = void (*)(const PackedWeights&, const QuantizedTokens&, std::size_t, const Output&,
                         std::size_t, std::size_t);
  static constexpr Times kTimes[kTokens] = {tokens_times<Multiply, 1>, tokens_times<Multiply, 2>,
                                            tokens_times<Multiply, 3>, tokens_times<Multiply, 4>};
  for (std::size_t panel = first; panel < last; panel += kTogether) {
    const std::size_t stop = panel + kTogether < last ? panel + kTogether : last;
    for (std::size_t token = 0; token < a.tokens; token += kTokens) {
      const std::size_t left = a.tokens - token;
      kTimes[(left < kTokens ? left : kTokens) - 1](w, a, token, out, panel, stop);
    }
  }
}

}  // namespace
}  // namespace tersor
