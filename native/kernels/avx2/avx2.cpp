// Linears with AVX2: bytes are multiplied to sums of two in int16, and those are added up in int32.
//
// A code of up to 4 bits times an activation is at most 15 * 128, so eight sums of two such products fit int16; of 5
// bits four, of 6 bits two.
// Codes of 8 bits are split into two of 4.
#include "kernels/kernels.hpp"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#include "kernels/avx2/linear.hpp"
#include "kernels/every_set/level_table.hpp"

namespace tersor {
namespace {

TERSOR_INLINE inline __m256i widened(__m256i pairs) {
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

template <unsigned kBits>
struct MultiplyNarrow {
  template <typename Tile>
  TERSOR_INLINE static void chunks(Tile& tile, const std::uint8_t* codes, std::size_t step, std::size_t first,
                                   std::size_t last) {
    constexpr std::size_t kSafe = kBits <= 4 ? 4 : kBits == 5 ? 2 : 1;  // chunks whose pairs fit int16
    for (std::size_t c = first; c < last; c += kSafe) {
      few_chunks(tile, codes, step, c, c + kSafe < last ? c + kSafe : last);
    }
  }

  template <typename Multiply, std::size_t kTokens>
  TERSOR_INLINE static void few_chunks(HalvesTile<Multiply, kTokens>& tile, const std::uint8_t* codes, std::size_t step,
                                       std::size_t first, std::size_t last) {
    __m256i pairs[kHalves][kTokens] = {};
    for (std::size_t c = first; c < last; ++c) {
      for (int h = 0; h < kHalves; ++h) {
        const __m256i low = unpacked<kBits>(codes + c * step, 0, h);
        const __m256i high = unpacked<kBits>(codes + c * step, 1, h);
        for (std::size_t t = 0; t < kTokens; ++t) {
          const std::int8_t* x = tile.activations(t, c);
          pairs[h][t] = _mm256_add_epi16(pairs[h][t], _mm256_maddubs_epi16(low, four_codes(x)));
          pairs[h][t] = _mm256_add_epi16(pairs[h][t], _mm256_maddubs_epi16(high, four_codes(x + 4)));
        }
      }
    }
    for (std::size_t h = 0; h < kHalves; ++h) {
      for (std::size_t t = 0; t < kTokens; ++t) {
        tile.sums[h][t] = _mm256_add_epi32(tile.sums[h][t], widened(pairs[h][t]));
      }
    }
  }
};

struct MultiplyWide {
  template <typename Multiply, std::size_t kTokens>
  TERSOR_INLINE static void chunks(HalvesTile<Multiply, kTokens>& tile, const std::uint8_t* codes, std::size_t step,
                                   std::size_t first, std::size_t last) {
    for (std::size_t c = first; c < last; ++c) {
      for (std::size_t quarter = 0; quarter < 2 * kHalves; ++quarter) {
        const std::size_t h = quarter % kHalves, four = quarter / kHalves * 4;
        const __m256i whole = load(codes + c * step + 32 * quarter);
        const __m256i low = bits_at<4>(whole, 0), high = bits_at<4>(whole, 4);
        for (std::size_t t = 0; t < kTokens; ++t) {
          const __m256i x = four_codes(tile.activations(t, c) + four);
          const __m256i sixteens = widened(_mm256_maddubs_epi16(high, x));
          const __m256i ones = widened(_mm256_maddubs_epi16(low, x));
          tile.sums[h][t] = _mm256_add_epi32(tile.sums[h][t], ones);
          tile.sums[h][t] = _mm256_add_epi32(tile.sums[h][t], _mm256_slli_epi32(sixteens, 4));
        }
      }
    }
  }
};

void linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
            std::size_t last) {
  const auto run = w.bits == 8   ? all_tokens<MultiplyWide>
                   : w.bits == 6 ? all_tokens<MultiplyNarrow<6>>
                   : w.bits == 5 ? all_tokens<MultiplyNarrow<5>>
                   : w.bits == 4 ? all_tokens<MultiplyNarrow<4>>
                   : w.bits == 3 ? all_tokens<MultiplyNarrow<3>>
                                 : all_tokens<MultiplyNarrow<2>>;
  run(w, a, out, first, last);
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

constexpr Kernels kKernels = table_of("avx2", linear, multiply_only);

}  // namespace

const Kernels* avx2_kernels() { return &kKernels; }

}  // namespace tersor

#else

namespace tersor {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace tersor

#endif
