// Linears of many tokens with AVX-512 VNNI: weights of a bundle become bytes once and serve all tokens. Sums are
// those of few tokens, scaled in the same order, so the results have the same bits.
#pragma once

#include "kernels/avx512/unpacking.hpp"
#include "memory/line_memory.hpp"

namespace tersor {
namespace {

// Where zeros differ, weights become bytes less their zeros and more by the largest zero.
TERSOR_INLINE inline std::int32_t zero_of_bytes(const PackedWeights& w) {
  return w.zeros != nullptr ? (1 << w.bits) - 1 : w.zero;
}

// The weights of a bundle's kPanels panels times kTokens tokens.
template <std::size_t kPanels, std::size_t kTokens>
struct ByteTile {
  const PackedWeights& w;  // of the bundle alone
  const QuantizedTokens& a;
  const std::uint8_t* codes;   // (chunks, kPanels, chunk_bytes(8))
  const float* row_scales;     // (groups, kPanels, kPanelRows)
  const std::int32_t* starts;  // (tokens, groups): of sums, what the zero takes away

  TERSOR_INLINE void run(std::size_t token, const Output& out) const {
    const std::size_t groups = w.groups(), whole = w.group_chunks(), chunks = w.chunks();
    const std::uint8_t* from = codes;
    const std::int8_t* x = a.codes + token * chunks * kChunk;
    const std::size_t parameter = token * groups;
    __m512 totals[kPanels][kTokens];
    start(out, totals);
    for (std::size_t g = 0; g < groups; ++g) {
      __m512i sums[kPanels][kTokens];
      for (std::size_t t = 0; t < kTokens; ++t) {
        const __m512i at = _mm512_set1_epi32(starts[parameter + t * groups + g]);
        for (std::size_t p = 0; p < kPanels; ++p) sums[p][t] = at;
      }
      const std::size_t count = g + 1 < groups ? whole : chunks - g * whole;
      for (std::size_t c = 0; c < count; ++c, x += kChunk, from += kPanels * chunk_bytes(8)) {
        multiply(from, x, chunks * kChunk, sums);
      }
      leave_in_registers(sums);
      scale(sums, row_scales + g * kPanels * kPanelRows, a.scales + parameter + g, groups, totals);
    }
    store(out, totals);
  }

  // The compiler would move sums from register to register while it multiplies, for what comes after.
  TERSOR_INLINE static void leave_in_registers(__m512i (&sums)[kPanels][kTokens]) {
    for (std::size_t p = 0; p < kPanels; ++p) {
      for (std::size_t t = 0; t < kTokens; ++t) asm volatile("" : "+v"(sums[p][t]));
    }
  }

  TERSOR_INLINE static void multiply(const std::uint8_t* from, const std::int8_t* x, std::size_t stride,
                                     __m512i (&sums)[kPanels][kTokens]) {
    __m512i first[kPanels], second[kPanels];
    for (std::size_t p = 0; p < kPanels; ++p) unpack<8>(from + p * chunk_bytes(8), first[p], second[p]);
    for (std::size_t t = 0; t < kTokens; ++t) {
      const __m512i four = four_codes(x + t * stride), next = four_codes(x + t * stride + 4);
      for (std::size_t p = 0; p < kPanels; ++p) {
        sums[p][t] = _mm512_dpbusd_epi32(sums[p][t], first[p], four);
        sums[p][t] = _mm512_dpbusd_epi32(sums[p][t], second[p], next);
      }
    }
  }

  // Totals stay in memory meanwhile: sums need the registers.
  TERSOR_INLINE static void scale(const __m512i (&sums)[kPanels][kTokens], const float* of_rows, const float* of_tokens,
                                  std::size_t groups, __m512 (&totals)[kPanels][kTokens]) {
    asm volatile("" : "+m"(totals));
    for (std::size_t p = 0; p < kPanels; ++p) {
      const __m512 scales = _mm512_load_ps(of_rows + p * kPanelRows);
      for (std::size_t t = 0; t < kTokens; ++t) {
        const __m512 unit = _mm512_mul_ps(scales, _mm512_set1_ps(of_tokens[t * groups]));
        totals[p][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[p][t]), unit, totals[p][t]);
      }
    }
    asm volatile("" : "+m"(totals));
  }

  TERSOR_INLINE void start(const Output& out, __m512 (&totals)[kPanels][kTokens]) const {
    for (std::size_t p = 0; p < kPanels; ++p) {
      const __mmask16 rows = out.add ? rows_of(w, p) : 0;
      for (std::size_t t = 0; t < kTokens; ++t) {
        totals[p][t] = _mm512_maskz_loadu_ps(rows, out.row(t) + p * kPanelRows);
      }
    }
  }

  TERSOR_INLINE void store(const Output& out, const __m512 (&totals)[kPanels][kTokens]) const {
    for (std::size_t p = 0; p < kPanels; ++p) {
      const __mmask16 rows = rows_of(w, p);
      for (std::size_t t = 0; t < kTokens; ++t) {
        _mm512_mask_storeu_ps(out.row(t) + p * kPanelRows, rows, totals[p][t]);
      }
    }
  }
};

template <std::size_t kPanels, std::size_t kTokens>
void multiply_bytes(const ByteTile<kPanels, 1>& of, std::size_t token, const Output& out) {
  ByteTile<kPanels, kTokens>{of.w, of.a, of.codes, of.row_scales, of.starts}.run(token, out);
}

class ManyTokens {
 public:
  // Whether bytes can hold weights less their zeros.
  static bool knows(const PackedWeights& w) { return w.zeros == nullptr || w.bits < 8; }

  ManyTokens(const PackedWeights& w, const QuantizedTokens& a)
      : w_(w),
        a_(a),
        starts_(a.tokens * w.groups() * sizeof(std::int32_t)),
        codes_(kBundlePanels * w.chunks() * chunk_bytes(8)),
        scales_(kBundlePanels * w.groups() * kPanelRows * sizeof(float)) {
    const std::int32_t zero = zero_of_bytes(w);
    std::int32_t* const starts = starts_.as<std::int32_t>();
    for (std::size_t i = 0; i < a.tokens * w.groups(); ++i) starts[i] = -zero * a.sums[i];
  }

  void run(const Output& out, std::size_t first, std::size_t last) const {
    for (std::size_t panel = first; panel < last; panel += panels_together(panel, last)) {
      const Output to = {out.y + panel * kPanelRows, out.stride, out.add};
      if (panels_together(panel, last) == 2) {
        run_bundle<2>(to, panel);
      } else {
        run_bundle<1>(to, panel);
      }
    }
  }

 private:
  const PackedWeights& w_;
  const QuantizedTokens& a_;
  LineMemory starts_, codes_, scales_;

  template <std::size_t kPanels>
  void run_bundle(const Output& out, std::size_t panel) const {
    using Multiply = void (*)(const ByteTile<kPanels, 1>&, std::size_t, const Output&);
    static constexpr Multiply kMultiply[kMostTokens] = {
        multiply_bytes<kPanels, 1>, multiply_bytes<kPanels, 2>, multiply_bytes<kPanels, 3>,
        multiply_bytes<kPanels, 4>, multiply_bytes<kPanels, 5>, multiply_bytes<kPanels, 6>,
        multiply_bytes<kPanels, 7>, multiply_bytes<kPanels, 8>};
    const PackedWeights bundle = w_.part(panel, panel + kPanels);
    const std::uint8_t* codes = w_.codes + w_.first_chunk(panel);
    widen_scales(panel, kPanels);
    // Codes of 8 bits lie as bytes do, but for one panel of two.
    if (w_.bits < 8 || w_.chunk_step(panel) != kPanels * chunk_bytes(8)) {
      unpack_panels(panel, kPanels);
      codes = codes_.as<std::uint8_t>();
    }
    const ByteTile<kPanels, 1> of = {bundle, a_, codes, scales_.as<float>(), starts_.as<std::int32_t>()};
    for (std::size_t token = 0; token < a_.tokens; token += kMostTokens) {
      const std::size_t left = a_.tokens - token;
      kMultiply[(left < kMostTokens ? left : kMostTokens) - 1](of, token, out.from(token));
    }
  }

  void widen_scales(std::size_t panel, std::size_t panels) const {
    const std::size_t groups = w_.groups();
    float* to = scales_.as<float>();
    for (std::size_t g = 0; g < groups; ++g) {
      for (std::size_t p = 0; p < panels; ++p, to += kPanelRows) {
        _mm512_store_ps(to, scales_at(w_, ((panel + p) * groups + g) * kPanelRows));
      }
    }
  }

  void unpack_panels(std::size_t panel, std::size_t panels) const {
    const auto unpack_group = w_.bits == 8   ? &ManyTokens::unpack_chunks<8>
                              : w_.bits == 6 ? &ManyTokens::unpack_chunks<6>
                              : w_.bits == 5 ? &ManyTokens::unpack_chunks<5>
                              : w_.bits == 4 ? &ManyTokens::unpack_chunks<4>
                              : w_.bits == 3 ? &ManyTokens::unpack_chunks<3>
                                             : &ManyTokens::unpack_chunks<2>;
    const std::size_t step = w_.chunk_step(panel), groups = w_.groups(), whole = w_.group_chunks();
    std::uint8_t* to = codes_.as<std::uint8_t>();
    const std::uint8_t* from = w_.codes + w_.first_chunk(panel);
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t count = g + 1 < groups ? whole : w_.chunks() - g * whole;
      for (std::size_t p = 0; p < panels; ++p) {
        const __m512i more = more_of(((panel + p) * groups + g) * kPanelRows);
        (this->*unpack_group)(from + p * chunk_bytes(w_.bits), step, count, more, to + p * chunk_bytes(8),
                              panels * chunk_bytes(8));
      }
      from += count * step;
      to += count * panels * chunk_bytes(8);
    }
  }

  // How much more than codes bytes are, in every byte of a row.
  __m512i more_of(std::size_t parameter) const {
    if (w_.zeros == nullptr) return _mm512_setzero_si512();
    const __m512i more = _mm512_sub_epi32(_mm512_set1_epi32(zero_of_bytes(w_)), zeros_at(w_, parameter));
    return _mm512_mullo_epi32(more, _mm512_set1_epi32(0x01010101));
  }

  template <unsigned kBits>
  void unpack_chunks(const std::uint8_t* from, std::size_t step, std::size_t count, __m512i more, std::uint8_t* to,
                     std::size_t to_step) const {
    for (std::size_t c = 0; c < count; ++c, from += step, to += to_step) {
      __m512i first, second;
      unpack<kBits>(from, first, second);
      _mm512_store_si512(to, _mm512_add_epi8(first, more));
      _mm512_store_si512(to + 64, _mm512_add_epi8(second, more));
    }
  }
};

}  // namespace
}  // namespace tersor
