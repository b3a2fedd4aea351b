// Linears of up to 8 tokens at a time with AVX-512 VNNI: a vector holds 16 rows x 4 columns, and one instruction
// multiplies it with 4 activations and adds the products to 16 int32 sums.
#pragma once

#include "kernels/avx512/unpacking.hpp"

namespace tersor {
namespace {

// Bytes of weights ahead of what is multiplied.
constexpr std::size_t kPrefetch = 4096;

// Weights of kPanels panels times kTokens tokens: that many vectors of sums.
template <unsigned kBits, std::size_t kPanels, std::size_t kTokens>
struct Tile {
  const PackedWeights& w;
  const QuantizedTokens& a;
  std::size_t panel, token;

  // With few tokens every sum is kept in two parts, so that an instruction need not wait for the one before.
  static constexpr std::size_t kParts = kTokens <= 2 ? 2 : 1;

  __m512i sums[kPanels][kTokens][kParts];
  __m512 totals[kPanels][kTokens];

  TERSOR_INLINE void run(const Output& out) {
    const std::size_t groups = w.groups(), chunks = w.chunks(), whole = w.group_chunks();
    const std::uint8_t* codes = w.codes + w.first_chunk(panel);
    const std::size_t step = w.chunk_step(panel);
    for (std::size_t p = 0; p < kPanels; ++p) {
      for (std::size_t t = 0; t < kTokens; ++t) totals[p][t] = before(out, p, t);
    }
    for (std::size_t g = 0; g < groups; ++g) {
      start(g, groups);
      if (kTokens <= 2) prefetch_scales(g, groups);
      const std::size_t last = g + 1 < groups ? (g + 1) * whole : chunks;
      for (std::size_t c = g * whole; c < last; ++c) {
        if (kTokens <= 2) prefetch(codes);
        multiply(codes, c, chunks);
        codes += step;
      }
      scale(g, groups);
    }
    for (std::size_t p = 0; p < kPanels; ++p) {
      for (std::size_t t = 0; t < kTokens; ++t) {
        float* const to = out.row(token + t) + (panel + p) * kPanelRows;
        _mm512_mask_storeu_ps(to, rows_of(w, panel + p), totals[p][t]);
      }
    }
  }

  // What is there, if sums are added to it: added at the end, it would cost more.
  TERSOR_INLINE __m512 before(const Output& out, std::size_t p, std::size_t t) const {
    if (!out.add) return _mm512_setzero_ps();
    return _mm512_maskz_loadu_ps(rows_of(w, panel + p), out.row(token + t) + (panel + p) * kPanelRows);
  }

  // With one zero for all weights, sums start at what it takes away.
  TERSOR_INLINE void start(std::size_t g, std::size_t groups) {
    for (std::size_t t = 0; t < kTokens; ++t) {
      const std::int32_t shift = w.zeros == nullptr ? -w.zero * a.sums[(token + t) * groups + g] : 0;
      const __m512i shifts = _mm512_set1_epi32(shift);
      for (std::size_t p = 0; p < kPanels; ++p) {
        sums[p][t][kParts - 1] = _mm512_setzero_si512();
        sums[p][t][0] = shifts;
      }
    }
  }

  // Few tokens wait for memory, and the processor's own prefetching stops at every page.
  TERSOR_INLINE void prefetch(const std::uint8_t* codes) const {
    for (std::size_t line = 0; line < kPanels * chunk_bytes(kBits); line += 64) {
      __builtin_prefetch(codes + kPrefetch + line);
    }
  }

  // Scales of the panels that come next.
  TERSOR_INLINE void prefetch_scales(std::size_t g, std::size_t groups) const {
    const std::size_t first = ((panel + kPanels) * groups + g * kPanels) * kPanelRows;
    const char* const next = w.scales.place_of(first);
    const std::size_t bytes = kPanels * kPanelRows * w.scales.size();
    for (std::size_t line = 0; line < bytes; line += 64) __builtin_prefetch(next + line);
  }

  TERSOR_INLINE void multiply(const std::uint8_t* codes, std::size_t c, std::size_t chunks) {
    __m512i low[kPanels], high[kPanels];
    for (std::size_t p = 0; p < kPanels; ++p) {
      unpack<kBits>(codes + p * chunk_bytes(kBits), low[p], high[p]);
    }
    for (std::size_t t = 0; t < kTokens; ++t) {
      const std::int8_t* activations = a.codes + ((token + t) * chunks + c) * kChunk;
      const __m512i first = four_codes(activations), second = four_codes(activations + 4);
      for (std::size_t p = 0; p < kPanels; ++p) {
        sums[p][t][0] = _mm512_dpbusd_epi32(sums[p][t][0], low[p], first);
        sums[p][t][kParts - 1] = _mm512_dpbusd_epi32(sums[p][t][kParts - 1], high[p], second);
      }
    }
  }

  TERSOR_INLINE void scale(std::size_t g, std::size_t groups) {
    for (std::size_t p = 0; p < kPanels; ++p) {
      const std::size_t parameter = ((panel + p) * groups + g) * kPanelRows;
      const __m512 scales = scales_at(w, parameter);
      if (kParts == 2) {
        for (std::size_t t = 0; t < kTokens; ++t) {
          sums[p][t][0] = _mm512_add_epi32(sums[p][t][0], sums[p][t][1 % kParts]);
        }
      }
      if (w.zeros != nullptr) take_zeros(p, parameter, g, groups);
      for (std::size_t t = 0; t < kTokens; ++t) {
        const __m512 exact = _mm512_cvtepi32_ps(sums[p][t][0]);
        const __m512 unit = _mm512_mul_ps(scales, _mm512_set1_ps(a.scales[(token + t) * groups + g]));
        totals[p][t] = _mm512_fmadd_ps(exact, unit, totals[p][t]);
      }
    }
  }

  TERSOR_INLINE void take_zeros(std::size_t p, std::size_t parameter, std::size_t g, std::size_t groups) {
    const __m512i zeros = zeros_at(w, parameter);
    for (std::size_t t = 0; t < kTokens; ++t) {
      const __m512i codes = _mm512_set1_epi32(a.sums[(token + t) * groups + g]);
      sums[p][t][0] = _mm512_sub_epi32(sums[p][t][0], _mm512_mullo_epi32(zeros, codes));
    }
  }
};

template <unsigned kBits, std::size_t kTokens>
void tokens_times(const PackedWeights& w, const QuantizedTokens& a, std::size_t token,
                  const Output& out, std::size_t first, std::size_t last) {
  for (std::size_t panel = first; panel < last; panel += panels_together(panel, last)) {
    if (panels_together(panel, last) == 2) {
      Tile<kBits, 2, kTokens>{w, a, panel, token, {}, {}}.run(out);
    } else {
      Tile<kBits, 1, kTokens>{w, a, panel, token, {}, {}}.run(out);
    }
  }
}

template <unsigned kBits>
void all_tokens(const PackedWeights& w, const QuantizedTokens& a, const Output& out,
                std::size_t first, std::size_t last) {
  using Times = void (*)(const PackedWeights&, const QuantizedTokens&, std::size_t,
                         const Output&, std::size_t, std::size_t);
  static constexpr Times kTimes[kMostTokens] = {
      tokens_times<kBits, 1>, tokens_times<kBits, 2>, tokens_times<kBits, 3>,
      tokens_times<kBits, 4>, tokens_times<kBits, 5>, tokens_times<kBits, 6>,
      tokens_times<kBits, 7>, tokens_times<kBits, 8>};
  // A few panels at a time, which stay in the first cache while all tokens pass by.
  constexpr std::size_t kTogether = 4;
  for (std::size_t panel = first; panel < last; panel += kTogether) {
    const std::size_t stop = panel + kTogether < last ? panel + kTogether : last;
    for (std::size_t token = 0; token < a.tokens; token += kMostTokens) {
      const std::size_t left = a.tokens - token;
      const std::size_t count = left < kMostTokens ? left : kMostTokens;
      kTimes[count - 1](w, a, token, out, panel, stop);
    }
  }
}

}  // namespace
}  // namespace tersor
