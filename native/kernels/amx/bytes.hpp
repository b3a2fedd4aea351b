// Linears of many tokens by tiles, with 8-bit weights per channel: weights are multiplied as they are packed, without
// their zeros. 32 tokens times two panels, all columns in one sum.
//
// A chunk holds two columns of a tile, each four codes of 16 rows; a tile takes the first ones of some chunks, or the
// second ones, so the codes of tokens are copied in that order.
#pragma once

#include "kernels/amx/tiles.hpp"
#include "memory/line_memory.hpp"

namespace tersor {
namespace {

struct ByteLinear {
  // Weights of panels that stay in the second cache while all tokens pass by.
  static constexpr std::size_t kNearBytes = std::size_t{1} << 20;
  static constexpr std::size_t kMostDepth = 16, kTokens = 2 * kTileRows;

  const PackedWeights& w;
  const QuantizedTokens& a;
  const Output& out;
  // Chunks in a pair of tiles, and how many of those in a row.
  std::size_t depth, count;
  LineMemory tokens;
  alignas(64) std::int32_t sums[kBundlePanels][kTokens][kPanelRows];

  ByteLinear(const PackedWeights& weights, const QuantizedTokens& activations, const Output& to)
      : w(weights),
        a(activations),
        out(to),
        depth(depth_of(weights)),
        count(weights.chunks() / depth),
        tokens((a.tokens + kTileRows - 1) / kTileRows * count * 2 * sizeof(WeightTile)) {}

  // As many chunks as divide a row; 0 if only a few do.
  static std::size_t depth_of(const PackedWeights& w) {
    constexpr std::size_t kLeast = 6;
    for (std::size_t depth = kMostDepth; depth >= kLeast; --depth) {
      if (w.chunks() % depth == 0) return depth;
    }
    return 0;
  }

  void run(std::size_t first, std::size_t last) {
    copy_tokens();
    const std::size_t panel_bytes = w.chunks() * chunk_bytes(8);
    const std::size_t fitting = kNearBytes / panel_bytes / kBundlePanels * kBundlePanels;
    const std::size_t together = fitting > kBundlePanels ? fitting : kBundlePanels;
    for (std::size_t panel = first; panel < last; panel += together) {
      const std::size_t stop = panel + together < last ? panel + together : last;
      for (std::size_t token = 0; token < a.tokens; token += kTokens) {
        use_four_sums(a.tokens - token < kTokens ? a.tokens - token : kTokens, depth);
        for (std::size_t p = panel; p < stop; p += panels_together(p, stop)) {
          multiply(token, p, panels_together(p, stop));
          scale(token, p, panels_together(p, stop));
        }
      }
    }
  }

  // (16 tokens, pairs of tiles, 2) tiles.
  void copy_tokens() const {
    const std::size_t step = depth * kChunk;
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const __mmask64 low = step < 64 ? (std::uint64_t{1} << step) - 1 : ~std::uint64_t{0};
    const __mmask64 high = step > 64 ? ~std::uint64_t{0} >> (128 - step) : 0;
    for (std::size_t token = 0; token < a.tokens; ++token) {
      const std::int8_t* from = a.codes + token * count * step;
      for (std::size_t i = 0; i < count; ++i, from += step) {
        const __m512i first = _mm512_maskz_loadu_epi8(low, from), second = _mm512_maskz_loadu_epi8(high, from + 64);
        WeightTile* const to = tokens.as<WeightTile>() + (token / kTileRows * count + i) * 2;
        const std::size_t row = token % kTileRows * kTileBytes;
        _mm512_store_si512(to[0] + row, _mm512_permutex2var_epi32(first, even, second));
        _mm512_store_si512(to[1] + row, _mm512_permutex2var_epi32(first, odd, second));
      }
    }
    finish_writing();
  }

  void multiply(std::size_t token, std::size_t panel, std::size_t panels) {
    const bool both = a.tokens - token > kTileRows, two = panels == 2;
    const std::size_t step = w.chunk_step(panel);
    const WeightTile* first = tokens.as<WeightTile>() + token / kTileRows * count * 2;
    const WeightTile* second = both ? first + count * 2 : first;
    const std::uint8_t* codes = w.codes + w.first_chunk(panel);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t i = 0; i < count; ++i, codes += depth * step) {
      for (std::size_t half = 0; half < 2; ++half) {
        const std::uint8_t* const from = codes + half * kTileBytes;
        _tile_loadd(4, *first++, kTileBytes);
        _tile_loadd(6, from, step);
        _tile_dpbsud(0, 4, 6);
        if (two) {
          _tile_loadd(7, from + chunk_bytes(8), step);
          _tile_dpbsud(1, 4, 7);
        }
        if (!both) continue;
        _tile_loadd(5, *second++, kTileBytes);
        _tile_dpbsud(2, 5, 6);
        if (two) _tile_dpbsud(3, 5, 7);
      }
    }
    _tile_stored(0, sums[0], kTileBytes);
    if (two) _tile_stored(1, sums[1], kTileBytes);
    if (both) _tile_stored(2, sums[0] + kTileRows, kTileBytes);
    if (both && two) _tile_stored(3, sums[1] + kTileRows, kTileBytes);
  }

  void scale(std::size_t token, std::size_t panel, std::size_t panels) const {
    const std::size_t some = a.tokens - token < kTokens ? a.tokens - token : kTokens;
    for (std::size_t p = 0; p < panels; ++p) {
      const std::size_t parameter = (panel + p) * kPanelRows;
      const __m512 of_weights = scales_at(w, parameter);
      const __m512i zeros = w.zeros == nullptr ? _mm512_set1_epi32(w.zero) : zeros_at(w, parameter);
      const __mmask16 rows = rows_of(w, panel + p);
      for (std::size_t t = 0; t < some; ++t) {
        float* const to = out.row(token + t) + parameter;
        const __m512i shifted = _mm512_mullo_epi32(zeros, _mm512_set1_epi32(a.sums[token + t]));
        const __m512 exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(sums[p][t]), shifted));
        const __m512 before = out.add ? _mm512_maskz_loadu_ps(rows, to) : _mm512_setzero_ps();
        const __m512 unit = _mm512_mul_ps(of_weights, _mm512_set1_ps(a.scales[token + t]));
        _mm512_mask_storeu_ps(to, rows, _mm512_fmadd_ps(exact, unit, before));
      }
    }
  }
};

}  // namespace
}  // namespace tersor
