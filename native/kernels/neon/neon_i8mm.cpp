// Linears with the matrix products of AArch64 (FEAT_I8MM): an instruction multiplies 2 rows x 8 columns with the
// activations of 2 tokens and adds the products to 4 int32 sums. A single token takes dot products instead.
#include "kernels/kernels.hpp"

#if defined(__aarch64__) && defined(__GNUC__) && defined(__ARM_FEATURE_MATMUL_INT8)

#define TERSOR_NEON

#include "kernels/every_set/level_table.hpp"
#include "kernels/neon/linear.hpp"

namespace tersor {
namespace {

// Sums of the products of kQuads quads, from quad kFirst of a panel on, with the tokens of kTokens, two by two.
template <unsigned kBits, std::size_t kFirst, std::size_t kQuads, std::size_t kTokens>
struct PairSums {
  static constexpr std::size_t kPairs = (kTokens + 1) / 2;

  // Of each two rows of a quad: a row for one token and for the other, then the next row.
  int32x4_t sums[kQuads][2][kPairs];

  // The second token of a pair; a last one without another stands in for it.
  static constexpr std::size_t partner(std::size_t pair) {
    return 2 * pair + 1 < kTokens ? 2 * pair + 1 : 2 * pair;
  }

  TERSOR_INLINE void start(const std::int32_t (&at)[kTokens]) {
    for (std::size_t p = 0; p < kPairs; ++p) {
      const int32x4_t both = {at[2 * p], at[partner(p)], at[2 * p], at[partner(p)]};
      for (std::size_t q = 0; q < kQuads; ++q) sums[q][0][p] = sums[q][1][p] = both;
    }
  }

  TERSOR_INLINE void multiply(const std::uint8_t* chunk, const std::int8_t* x, std::size_t stride) {
    int8x16_t pairs[kPairs];
    for (std::size_t p = 0; p < kPairs; ++p) {
      pairs[p] = vcombine_s8(vld1_s8(x + 2 * p * stride), vld1_s8(x + partner(p) * stride));
    }
    for (std::size_t q = 0; q < kQuads; ++q) {
      const std::size_t quad = (kFirst + q) % kPanelQuads;
      const std::uint8_t* const from = chunk + (kFirst + q) / kPanelQuads * chunk_bytes(kBits);
      const uint32x4_t low = vreinterpretq_u32_u8(unpacked<kBits>(from, 0, quad));
      const uint32x4_t high = vreinterpretq_u32_u8(unpacked<kBits>(from, 1, quad));
      const uint8x16_t rows[2] = {vreinterpretq_u8_u32(vzip1q_u32(low, high)),
                                  vreinterpretq_u8_u32(vzip2q_u32(low, high))};
      for (std::size_t r = 0; r < 2; ++r) {
        for (std::size_t p = 0; p < kPairs; ++p) {
          sums[q][r][p] = vusmmlaq_s32(sums[q][r][p], rows[r], pairs[p]);
        }
      }
    }
  }

  // The sums of four rows for a token.
  TERSOR_INLINE int32x4_t of(std::size_t q, std::size_t t) const {
    const int32x4_t first = sums[q][0][t / 2], second = sums[q][1][t / 2];
    return t % 2 == 0 ? vuzp1q_s32(first, second) : vuzp2q_s32(first, second);
  }
};

template <typename Multiply, unsigned kBits, std::size_t kFirst, std::size_t kQuads, std::size_t kTokens>
struct SumsFor : PairSums<kBits, kFirst, kQuads, kTokens> {};

template <typename Multiply, unsigned kBits, std::size_t kFirst, std::size_t kQuads>
struct SumsFor<Multiply, kBits, kFirst, kQuads, 1> : DotSums<Multiply, kBits, kFirst, kQuads, 1> {};

struct MultiplyMixed {
  template <unsigned kBits, std::size_t kFirst, std::size_t kQuads, std::size_t kTokens>
  using Sums = SumsFor<MultiplyMixed, kBits, kFirst, kQuads, kTokens>;

  // Codes stay unsigned.
  template <unsigned kBits>
  TERSOR_INLINE static constexpr std::int32_t less_by() {
    return 0;
  }

  template <unsigned kBits, int kLane>
  TERSOR_INLINE static int32x4_t dot(int32x4_t sums, uint8x16_t codes, int8x8_t eight) {
    return vusdotq_lane_s32(sums, codes, eight, kLane);
  }
};

std::size_t multiply_only(std::size_t rounds) {
  constexpr std::size_t kSums = 16;
  int32x4_t sums[kSums];
  for (std::size_t i = 0; i < kSums; ++i) sums[i] = vdupq_n_s32(static_cast<std::int32_t>(i));
  const uint8x16_t codes = vdupq_n_u8(1);
  const int8x16_t activations = vdupq_n_s8(1);
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < kSums; ++i) sums[i] = vusmmlaq_s32(sums[i], codes, activations);
  }
  for (std::size_t i = 0; i < kSums; ++i) asm volatile("" : : "w"(sums[i]));
  return rounds * kSums * 32;
}

constexpr Kernels kKernels = table_of("neon_i8mm", all_widths<MultiplyMixed>, multiply_only);

}  // namespace

const Kernels* neon_i8mm_kernels() { return &kKernels; }

}  // namespace tersor

#else

namespace tersor {
const Kernels* neon_i8mm_kernels() { return nullptr; }
}  // namespace tersor

#endif
