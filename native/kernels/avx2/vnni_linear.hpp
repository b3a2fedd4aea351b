// Linears with VNNI on vectors of 256 bits: AVX-512's instruction where there is one, else AVX-VNNI's.
#pragma once

#include "kernels/avx2/linear.hpp"

namespace tersor {
namespace {

// Unsigned times signed bytes; products are added, four by four, to int32.
TERSOR_INLINE inline __m256i with_products_of_bytes(__m256i sums, __m256i codes, __m256i activations) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  return _mm256_dpbusd_epi32(sums, codes, activations);
#else
  return _mm256_dpbusd_avx_epi32(sums, codes, activations);
#endif
}

template <unsigned kBits>
struct MultiplyVnni {
  template <typename Multiply, std::size_t kTokens>
  TERSOR_INLINE static void chunks(HalvesTile<Multiply, kTokens>& tile, const std::uint8_t* codes, std::size_t step,
                                   std::size_t first, std::size_t last) {
    for (std::size_t c = first; c < last; ++c) {
      for (int h = 0; h < kHalves; ++h) {
        const __m256i low = unpacked<kBits>(codes + c * step, 0, h);
        const __m256i high = unpacked<kBits>(codes + c * step, 1, h);
        for (std::size_t t = 0; t < kTokens; ++t) {
          const std::int8_t* x = tile.activations(t, c);
          tile.sums[h][t] = with_products_of_bytes(tile.sums[h][t], low, four_codes(x));
          tile.sums[h][t] = with_products_of_bytes(tile.sums[h][t], high, four_codes(x + 4));
        }
      }
    }
  }
};

void linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
            std::size_t last) {
  const auto run = w.bits == 8   ? all_tokens<MultiplyVnni<8>>
                   : w.bits == 6 ? all_tokens<MultiplyVnni<6>>
                   : w.bits == 5 ? all_tokens<MultiplyVnni<5>>
                   : w.bits == 4 ? all_tokens<MultiplyVnni<4>>
                   : w.bits == 3 ? all_tokens<MultiplyVnni<3>>
                                 : all_tokens<MultiplyVnni<2>>;
  run(w, a, out, first, last);
}

std::size_t multiply_only(std::size_t rounds) {
  constexpr std::size_t kSums = 8;
  __m256i sums[kSums];
  for (std::size_t i = 0; i < kSums; ++i) sums[i] = _mm256_set1_epi32(static_cast<int>(i));
  const __m256i codes = _mm256_set1_epi8(1);
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < kSums; ++i) sums[i] = with_products_of_bytes(sums[i], codes, codes);
  }
  for (std::size_t i = 0; i < kSums; ++i) asm volatile("" : : "x"(sums[i]));
  return rounds * kSums * 32;
}

}  // namespace
}  // namespace tersor
