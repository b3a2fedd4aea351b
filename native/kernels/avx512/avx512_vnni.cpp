// Linears with AVX-512 VNNI: a vector holds 16 rows x 4 columns, and one instruction multiplies it with 4
// activations and adds the products to 16 int32 sums.
#include "kernels/kernels.hpp"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#include "kernels/avx512/few_tokens.hpp"
#include "kernels/avx512/many_tokens.hpp"
#include "kernels/every_set/level_table.hpp"

namespace tersor {
namespace {

void linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
            std::size_t last) {
  if (a.tokens > kMostTokens && ManyTokens::knows(w)) return ManyTokens(w, a).run(out, first, last);
  const auto run = w.bits == 8   ? all_tokens<8>
                   : w.bits == 6 ? all_tokens<6>
                   : w.bits == 5 ? all_tokens<5>
                   : w.bits == 4 ? all_tokens<4>
                   : w.bits == 3 ? all_tokens<3>
                                 : all_tokens<2>;
  run(w, a, out, first, last);
}

std::size_t multiply_only(std::size_t rounds) {
  constexpr std::size_t kSums = 16;
  __m512i sums[kSums];
  for (std::size_t i = 0; i < kSums; ++i) sums[i] = _mm512_set1_epi32(static_cast<int>(i));
  const __m512i codes = _mm512_set1_epi8(1);
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < kSums; ++i) {
      __m512i sum = _mm512_dpbusd_epi32(sums[i], codes, codes);
      // Or the compiler would move sums about.
      asm volatile("" : "+v"(sum));
      sums[i] = sum;
    }
  }
  return rounds * kSums * 64;
}

constexpr Kernels kKernels = table_of("avx512_vnni", linear, multiply_only);

}  // namespace

const Kernels* avx512_vnni_kernels() { return &kKernels; }

}  // namespace tersor

#else

namespace tersor {
const Kernels* avx512_vnni_kernels() { return nullptr; }
}  // namespace tersor

#endif
