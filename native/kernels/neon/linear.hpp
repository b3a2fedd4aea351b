// Linears with vectors of 128 bits: a quad is 4 rows x 4 columns, and a half of a chunk has four. The file that
// includes this says how a quad is multiplied.
#pragma once

#include <arm_neon.h>

#include "kernels/packed_weights.hpp"

namespace tersor {
namespace {

constexpr std::size_t kPanelQuads = 4;

TERSOR_INLINE inline uint8x16_t shifted_down(uint8x16_t bytes, std::size_t by) {
  return bytes >> vdupq_n_u8(static_cast<std::uint8_t>(by));
}

// `value` for every bit that is set of 16.
TERSOR_INLINE inline uint8x16_t last_bits_of(const std::uint8_t* from, std::uint8_t value) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  const uint8x16_t byte = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t spread = vqtbl1q_u8(vreinterpretq_u8_u16(vdupq_n_u16(bits)), byte);
  return vandq_u8(vtstq_u8(spread, bit), vdupq_n_u8(value));
}

// Two bits of each code of a quad.
TERSOR_INLINE inline uint8x16_t twos_of(const std::uint8_t* from, std::size_t half, std::size_t quad) {
  const uint8x16_t all = vld1q_u8(from + 16 * (quad % 2));
  return vandq_u8(shifted_down(all, 4 * half + quad / 2 * 2), vdupq_n_u8(3));
}

TERSOR_INLINE inline uint8x16_t fours_of(const std::uint8_t* from, std::size_t half, std::size_t quad) {
  const uint8x16_t both = vld1q_u8(from + 16 * quad);
  return half == 0 ? vandq_u8(both, vdupq_n_u8(15)) : vshrq_n_u8(both, 4);
}

// A quad of a half of a chunk, a code to a byte.
template <unsigned kBits>
TERSOR_INLINE inline uint8x16_t unpacked(const std::uint8_t* chunk, std::size_t half, std::size_t quad) {
  if (kBits == 8) return vld1q_u8(chunk + 64 * half + 16 * quad);
  const uint8x16_t low = kBits < 4 ? twos_of(chunk, half, quad) : fours_of(chunk, half, quad);
  if (kBits == 6) return vorrq_u8(low, vshlq_n_u8(twos_of(chunk + kLastTwoBits, half, quad), 4));
  if (kBits % 2 == 0) return low;
  return vorrq_u8(low, last_bits_of(chunk + last_bits(kBits, half) + 2 * quad, 1 << (kBits - 1) % 8));
}

// Sums of the products of kQuads quads, from quad kFirst of a panel on, with kTokens tokens. `Multiply` has
// products with the first or the last four of eight activations, `dot<kBits, kLane>(sums, quad, eight)`.
template <typename Multiply, unsigned kBits, std::size_t kFirst, std::size_t kQuads, std::size_t kTokens>
struct DotSums {
  // A single token's are kept in two parts, so that an instruction need not wait for the one before.
  static constexpr std::size_t kParts = kTokens == 1 ? 2 : 1;

  int32x4_t sums[kQuads][kTokens][kParts];

  TERSOR_INLINE void start(const std::int32_t (&at)[kTokens]) {
    for (std::size_t q = 0; q < kQuads; ++q) {
      for (std::size_t t = 0; t < kTokens; ++t) {
        sums[q][t][kParts - 1] = vdupq_n_s32(0);
        sums[q][t][0] = vdupq_n_s32(at[t]);
      }
    }
  }

  // Activations of tokens are `stride` apart.
  TERSOR_INLINE void multiply(const std::uint8_t* chunk, const std::int8_t* x, std::size_t stride) {
    int8x8_t eight[kTokens];
    for (std::size_t t = 0; t < kTokens; ++t) eight[t] = vld1_s8(x + t * stride);
    for (std::size_t q = 0; q < kQuads; ++q) {
      const std::size_t quad = (kFirst + q) % kPanelQuads;
      const std::uint8_t* const from = chunk + (kFirst + q) / kPanelQuads * chunk_bytes(kBits);
      const uint8x16_t low = unpacked<kBits>(from, 0, quad), high = unpacked<kBits>(from, 1, quad);
      for (std::size_t t = 0; t < kTokens; ++t) {
        int32x4_t& first = sums[q][t][0];
        first = Multiply::template dot<kBits, 0>(first, low, eight[t]);
        int32x4_t& last = sums[q][t][kParts - 1];
        last = Multiply::template dot<kBits, 1>(last, high, eight[t]);
      }
    }
  }

  // The sums of four rows for a token.
  TERSOR_INLINE int32x4_t of(std::size_t q, std::size_t t) const {
    return kParts == 1 ? sums[q][t][0] : vaddq_s32(sums[q][t][0], sums[q][t][kParts - 1]);
  }
};

// kQuads quads, from quad kFirst of a panel on, times kTokens tokens.
template <typename Multiply, unsigned kBits, std::size_t kFirst, std::size_t kQuads, std::size_t kTokens>
struct QuadsTile {
  const PackedWeights& w;
  const QuantizedTokens& a;
  std::size_t panel, token;

  typename Multiply::template Sums<kBits, kFirst, kQuads, kTokens> sums;
  float32x4_t totals[kQuads][kTokens];

  TERSOR_INLINE void run(const Output& out) {
    const std::size_t groups = w.groups(), chunks = w.chunks(), whole = w.group_chunks();
    const std::size_t step = w.chunk_step(panel), stride = chunks * kChunk;
    const std::uint8_t* codes = w.codes + w.first_chunk(panel);
    const std::int8_t* x = a.codes + token * stride;
    start(out);
    for (std::size_t g = 0; g < groups; ++g) {
      start_group(g, groups);
      const std::size_t last = g + 1 < groups ? (g + 1) * whole : chunks;
      for (std::size_t c = g * whole; c < last; ++c, codes += step, x += kChunk) {
        sums.multiply(codes, x, stride);
      }
      scale(g, groups);
    }
    store(out);
  }

  TERSOR_INLINE std::int32_t token_sum(std::size_t t, std::size_t g, std::size_t groups) const {
    return a.sums[(token + t) * groups + g];
  }

  // Sums start at what one zero for all weights takes away, and at what codes that were made less lack.
  TERSOR_INLINE void start_group(std::size_t g, std::size_t groups) {
    const std::int32_t zero = (w.zeros == nullptr ? w.zero : 0) - Multiply::template less_by<kBits>();
    std::int32_t at[kTokens];
    for (std::size_t t = 0; t < kTokens; ++t) at[t] = -zero * token_sum(t, g, groups);
    sums.start(at);
  }

  TERSOR_INLINE void scale(std::size_t g, std::size_t groups) {
    for (std::size_t q = 0; q < kQuads; ++q) {
      const std::size_t quad = kFirst + q;
      const std::size_t parameter = ((panel + quad / kPanelQuads) * groups + g) * kPanelRows +
                                    quad % kPanelQuads * 4;
      const float32x4_t scales = scales_at(parameter);
      const int32x4_t zeros = w.zeros == nullptr ? vdupq_n_s32(0) : zeros_at(parameter);
      for (std::size_t t = 0; t < kTokens; ++t) {
        int32x4_t exact = sums.of(q, t);
        if (w.zeros != nullptr) exact = vmlsq_n_s32(exact, zeros, token_sum(t, g, groups));
        const float32x4_t unit = vmulq_n_f32(scales, a.scales[(token + t) * groups + g]);
        totals[q][t] = vfmaq_f32(totals[q][t], vcvtq_f32_s32(exact), unit);
      }
    }
  }

  TERSOR_INLINE float32x4_t scales_at(std::size_t parameter) const {
    const GroupParameters& of = w.scales;
    if (of.wide != nullptr) return vld1q_f32(of.wide + parameter);
    if (of.narrow != nullptr) return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(of.narrow + parameter), 16));
    if (of.steps == nullptr) return halves_at(of.half + parameter);
    std::int32_t four;
    __builtin_memcpy(&four, of.steps + parameter, sizeof four);
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    const float32x4_t times = vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
    return vmulq_f32(halves_at(of.half + of.shared(parameter) + parameter % kPanelRows), times);
  }

  TERSOR_INLINE static float32x4_t halves_at(const std::uint16_t* from) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
  }

  TERSOR_INLINE int32x4_t zeros_at(std::size_t parameter) const {
    std::uint32_t four;
    __builtin_memcpy(&four, w.zeros + parameter, sizeof four);
    const uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));
  }

  TERSOR_INLINE std::size_t first_row(std::size_t q) const {
    return panel * kPanelRows + 4 * (kFirst + q);
  }

  // How many rows of a quad there are.
  TERSOR_INLINE std::size_t rows_of(std::size_t q) const {
    const std::size_t first = first_row(q), left = first < w.rows ? w.rows - first : 0;
    return left < 4 ? left : 4;
  }

  TERSOR_INLINE void start(const Output& out) {
    for (std::size_t q = 0; q < kQuads; ++q) {
      const std::size_t count = out.add ? rows_of(q) : 0;
      for (std::size_t t = 0; t < kTokens; ++t) {
        float rows[4] = {};
        if (count > 0) __builtin_memcpy(rows, out.row(token + t) + first_row(q), count * sizeof(float));
        totals[q][t] = vld1q_f32(rows);
      }
    }
  }

  TERSOR_INLINE void store(const Output& out) const {
    for (std::size_t q = 0; q < kQuads; ++q) {
      const std::size_t count = rows_of(q);
      for (std::size_t t = 0; t < kTokens; ++t) {
        float rows[4];
        vst1q_f32(rows, totals[q][t]);
        if (count > 0) __builtin_memcpy(out.row(token + t) + first_row(q), rows, count * sizeof(float));
      }
    }
  }
};

// There are 32 registers, of which 16 hold sums: of two panels with one or two tokens, of a panel with up to
// four, of half a panel with up to eight.
template <typename Multiply, unsigned kBits, std::size_t kTokens>
void tokens_times(const PackedWeights& w, const QuantizedTokens& a, std::size_t token,
                  const Output& out, std::size_t first, std::size_t last) {
  std::size_t panel = first;
  if constexpr (kTokens <= 2) {
    for (; panel < last && panels_together(panel, last) == 2; panel += 2) {
      QuadsTile<Multiply, kBits, 0, 2 * kPanelQuads, kTokens>{w, a, panel, token, {}, {}}.run(out);
    }
  }
  for (; panel < last; ++panel) {
    if constexpr (kTokens <= 4) {
      QuadsTile<Multiply, kBits, 0, kPanelQuads, kTokens>{w, a, panel, token, {}, {}}.run(out);
    } else {
      QuadsTile<Multiply, kBits, 0, 2, kTokens>{w, a, panel, token, {}, {}}.run(out);
      QuadsTile<Multiply, kBits, 2, 2, kTokens>{w, a, panel, token, {}, {}}.run(out);
    }
  }
}

template <typename Multiply, unsigned kBits>
void all_tokens(const PackedWeights& w, const QuantizedTokens& a, const Output& out,
                std::size_t first, std::size_t last) {
  using Times = void (*)(const PackedWeights&, const QuantizedTokens&, std::size_t, const Output&,
                         std::size_t, std::size_t);
  static constexpr Times kTimes[kMostTokens] = {
      tokens_times<Multiply, kBits, 1>, tokens_times<Multiply, kBits, 2>,
      tokens_times<Multiply, kBits, 3>, tokens_times<Multiply, kBits, 4>,
      tokens_times<Multiply, kBits, 5>, tokens_times<Multiply, kBits, 6>,
      tokens_times<Multiply, kBits, 7>, tokens_times<Multiply, kBits, 8>};
  // A few panels at a time, which stay in the first cache while all tokens pass by.
  constexpr std::size_t kTogether = 4;
  for (std::size_t panel = first; panel < last; panel += kTogether) {
    const std::size_t stop = panel + kTogether < last ? panel + kTogether : last;
    for (std::size_t token = 0; token < a.tokens; token += kMostTokens) {
      const std::size_t left = a.tokens - token;
      kTimes[(left < kMostTokens ? left : kMostTokens) - 1](w, a, token, out, panel, stop);
    }
  }
}

template <typename Multiply>
void all_widths(const PackedWeights& w, const QuantizedTokens& a, const Output& out,
                std::size_t first, std::size_t last) {
  const auto run = w.bits == 8   ? all_tokens<Multiply, 8>
                   : w.bits == 6 ? all_tokens<Multiply, 6>
                   : w.bits == 5 ? all_tokens<Multiply, 5>
                   : w.bits == 4 ? all_tokens<Multiply, 4>
                   : w.bits == 3 ? all_tokens<Multiply, 3>
                                 : all_tokens<Multiply, 2>;
  run(w, a, out, first, last);
}

}  // namespace
}  // namespace tersor
