// Linears with AVX2: bytes are multiplied to sums of two in int16, and those are added up in int32.
//
// A code of 4 bits times an activation is at most 15 * 127, so eight sums of two such products fit int16.
// Codes of 8 bits are split into two of 4.
#include "kernels.hpp"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

namespace tersor {
namespace {

#include "vectors16.inl"
#include "half.inl"
#include "elementwise.inl"
#include "attention.inl"
#include "float_linear.inl"
#include "quantize.inl"

// A vector holds 8 rows x 4 columns, so a panel takes two.
constexpr std::size_t kHalves = 2;

inline __attribute__((always_inline)) __m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

inline __attribute__((always_inline)) __m256i low_bits(__m256i bytes) {
  return _mm256_and_si256(bytes, _mm256_set1_epi8(0x0f));
}

inline __attribute__((always_inline)) __m256i high_bits(__m256i bytes) {
  return low_bits(_mm256_srli_epi16(bytes, 4));
}

inline __attribute__((always_inline)) __m256i four_codes(const std::int8_t* from) {
  std::int32_t four;
  __builtin_memcpy(&four, from, sizeof four);
  return _mm256_set1_epi32(four);
}

inline __attribute__((always_inline)) __m256i widened(__m256i pairs) {
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

template <unsigned kBits, std::size_t kTokens>
struct Tile {
  const PackedWeights& w;
  const QuantizedTokens& a;
  std::size_t panel, token;

  __m256i sums[kHalves][kTokens];
  __m256 totals[kHalves][kTokens];

  inline __attribute__((always_inline)) void run(float* y, std::size_t stride) {
    const std::size_t groups = w.groups(), chunks = w.chunks(), whole = w.group_chunks();
    for (std::size_t h = 0; h < kHalves; ++h) {
      for (std::size_t t = 0; t < kTokens; ++t) totals[h][t] = _mm256_setzero_ps();
    }
    for (std::size_t g = 0; g < groups; ++g) {
      for (std::size_t h = 0; h < kHalves; ++h) {
        for (std::size_t t = 0; t < kTokens; ++t) sums[h][t] = _mm256_setzero_si256();
      }
      const std::size_t last = g + 1 < groups ? (g + 1) * whole : chunks;
      constexpr std::size_t kSafe = kBits == 4 ? 4 : 2;  // chunks whose pairs fit int16
      for (std::size_t c = g * whole; c < last; c += kSafe) {
        const std::size_t stop = c + kSafe < last ? c + kSafe : last;
        if (kBits == 4) {
          multiply4(c, stop, chunks);
        } else {
          multiply8(c, stop, chunks);
        }
      }
      scale(g, groups);
    }
    store(y, stride);
  }

  inline __attribute__((always_inline)) void multiply4(std::size_t first, std::size_t last,
                                                       std::size_t chunks) {
    __m256i pairs[kHalves][kTokens];
    for (std::size_t h = 0; h < kHalves; ++h) {
      for (std::size_t t = 0; t < kTokens; ++t) pairs[h][t] = _mm256_setzero_si256();
    }
    for (std::size_t c = first; c < last; ++c) {
      const std::uint8_t* from = w.codes + w.first_chunk(panel) + c * w.chunk_step(panel);
      for (std::size_t h = 0; h < kHalves; ++h) {
        const __m256i both = load(from + 32 * h);
        const __m256i low = low_bits(both), high = high_bits(both);
        for (std::size_t t = 0; t < kTokens; ++t) {
          const std::int8_t* codes = a.codes + ((token + t) * chunks + c) * kChunk;
          pairs[h][t] = _mm256_add_epi16(pairs[h][t], _mm256_maddubs_epi16(low, four_codes(codes)));
          pairs[h][t] =
              _mm256_add_epi16(pairs[h][t], _mm256_maddubs_epi16(high, four_codes(codes + 4)));
        }
      }
    }
    for (std::size_t h = 0; h < kHalves; ++h) {
      for (std::size_t t = 0; t < kTokens; ++t) {
        sums[h][t] = _mm256_add_epi32(sums[h][t], widened(pairs[h][t]));
      }
    }
  }

  inline __attribute__((always_inline)) void multiply8(std::size_t first, std::size_t last,
                                                       std::size_t chunks) {
    for (std::size_t c = first; c < last; ++c) {
      const std::uint8_t* from = w.codes + w.first_chunk(panel) + c * w.chunk_step(panel);
      for (std::size_t quarter = 0; quarter < 2 * kHalves; ++quarter) {
        const std::size_t h = quarter % kHalves, four = quarter / kHalves * 4;
        const __m256i whole = load(from + 32 * quarter);
        const __m256i low = low_bits(whole), high = high_bits(whole);
        for (std::size_t t = 0; t < kTokens; ++t) {
          const __m256i codes = four_codes(a.codes + ((token + t) * chunks + c) * kChunk + four);
          const __m256i sixteens = widened(_mm256_maddubs_epi16(high, codes));
          const __m256i ones = widened(_mm256_maddubs_epi16(low, codes));
          sums[h][t] = _mm256_add_epi32(sums[h][t], ones);
          sums[h][t] = _mm256_add_epi32(sums[h][t], _mm256_slli_epi32(sixteens, 4));
        }
      }
    }
  }

  inline __attribute__((always_inline)) void scale(std::size_t g, std::size_t groups) {
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

  inline __attribute__((always_inline)) __m256 scales_at(std::size_t parameter) const {
    if (w.scales == nullptr) return _mm256_loadu_ps(w.wide_scales + parameter);
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.scales + parameter));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }

  inline __attribute__((always_inline)) void store(float* y, std::size_t stride) const {
    const std::size_t first = panel * kPanelRows;
    const std::size_t count = w.rows - first < kPanelRows ? w.rows - first : kPanelRows;
    for (std::size_t t = 0; t < kTokens; ++t) {
      float* to = y + (token + t) * stride + first;
      alignas(32) float rows[kPanelRows];
      for (std::size_t h = 0; h < kHalves; ++h) _mm256_store_ps(rows + 8 * h, totals[h][t]);
      __builtin_memcpy(to, rows, count * sizeof(float));
    }
  }
};

template <unsigned kBits, std::size_t kTokens>
void tokens_times(const PackedWeights& w, const QuantizedTokens& a, std::size_t token, float* y,
                  std::size_t stride, std::size_t first, std::size_t last) {
  for (std::size_t panel = first; panel < last; ++panel) {
    Tile<kBits, kTokens>{w, a, panel, token, {}, {}}.run(y, stride);
  }
}

template <unsigned kBits>
void all_tokens(const PackedWeights& w, const QuantizedTokens& a, float* y, std::size_t stride,
                std::size_t first, std::size_t last) {
  // There are 16 registers: more tokens at a time would not stay in them.
  constexpr std::size_t kTokens = 4, kTogether = 4;
  using Times = void (*)(const PackedWeights&, const QuantizedTokens&, std::size_t, float*,
                         std::size_t, std::size_t, std::size_t);
  static constexpr Times kTimes[kTokens] = {tokens_times<kBits, 1>, tokens_times<kBits, 2>,
                                            tokens_times<kBits, 3>, tokens_times<kBits, 4>};
  for (std::size_t panel = first; panel < last; panel += kTogether) {
    const std::size_t stop = panel + kTogether < last ? panel + kTogether : last;
    for (std::size_t token = 0; token < a.tokens; token += kTokens) {
      const std::size_t left = a.tokens - token;
      kTimes[(left < kTokens ? left : kTokens) - 1](w, a, token, y, stride, panel, stop);
    }
  }
}

void linear(const PackedWeights& w, const QuantizedTokens& a, float* y, std::size_t stride,
            std::size_t first, std::size_t last) {
  if (w.bits == 8) {
    all_tokens<8>(w, a, y, stride, first, last);
  } else {
    all_tokens<4>(w, a, y, stride, first, last);
  }
}

std::size_t multiply_only(std::size_t rounds) {
  constexpr std::size_t kSums = 8;
  __m256i sums[kSums];
  for (std::size_t i = 0; i < kSums; ++i) sums[i] = _mm256_set1_epi16(static_cast<short>(i));
  __m256i codes = _mm256_set1_epi8(1);
  for (std::size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+x"(codes));  // or the products are computed once
    for (std::size_t i = 0; i < kSums; ++i) {
      sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(codes, codes));
    }
  }
  for (std::size_t i = 0; i < kSums; ++i) asm volatile("" : : "x"(sums[i]));
  return rounds * kSums * 32;
}

const Kernels kKernels = {"avx2", quantize_tokens, linear,   float_linear, norm,
                          add, rotate, gate_with, soft_cap, store, attend,
                          multiply_only};

}  // namespace

const Kernels* avx2_kernels() { return &kKernels; }

}  // namespace tersor

#else

namespace tersor {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace tersor

#endif
