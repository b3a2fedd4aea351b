// Linears with the dot products of AArch64 (FEAT_DotProd): an instruction multiplies 4 rows x 4 columns with 4
// activations and adds the products to 4 int32 sums.
#include "kernels/kernels.hpp"

#if defined(__aarch64__) && defined(__GNUC__) && defined(__ARM_FEATURE_DOTPROD)

#define TERSOR_NEON

#include "kernels/every_set/level_table.hpp"
#include "kernels/neon/linear.hpp"

namespace tersor {
namespace {

struct MultiplySigned {
  template <unsigned kBits, std::size_t kFirst, std::size_t kQuads, std::size_t kTokens>
  using Sums = DotSums<MultiplySigned, kBits, kFirst, kQuads, kTokens>;

  // Both factors are signed, so codes of 8 bits become less by half their range.
  template <unsigned kBits>
  TERSOR_INLINE static constexpr std::int32_t less_by() {
    return kBits == 8 ? 128 : 0;
  }

  template <unsigned kBits, int kLane>
  TERSOR_INLINE static int32x4_t dot(int32x4_t sums, uint8x16_t codes, int8x8_t eight) {
    const uint8x16_t less = kBits == 8 ? veorq_u8(codes, vdupq_n_u8(128)) : codes;
    return vdotq_lane_s32(sums, vreinterpretq_s8_u8(less), eight, kLane);
  }
};

std::size_t multiply_only(std::size_t rounds) {
  constexpr std::size_t kSums = 16;
  int32x4_t sums[kSums];
  for (std::size_t i = 0; i < kSums; ++i) sums[i] = vdupq_n_s32(static_cast<std::int32_t>(i));
  const int8x16_t codes = vdupq_n_s8(1);
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < kSums; ++i) sums[i] = vdotq_s32(sums[i], codes, codes);
  }
  for (std::size_t i = 0; i < kSums; ++i) asm volatile("" : : "w"(sums[i]));
  return rounds * kSums * 16;
}

constexpr Kernels kKernels = table_of("neon_dotprod", all_widths<MultiplySigned>, multiply_only);

}  // namespace

const Kernels* neon_dotprod_kernels() { return &kKernels; }

}  // namespace tersor

#else

namespace tersor {
const Kernels* neon_dotprod_kernels() { return nullptr; }
}  // namespace tersor

#endif
