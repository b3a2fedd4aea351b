// Linears of many tokens by tiles, with longer groups: up to 32 tokens times up to two panels, in four tiles of sums
// that take turns with two tiles of tokens and two of weights.
#pragma once

#include "kernels/amx/tiles.hpp"
#include "memory/line_memory.hpp"

namespace tersor {
namespace {

// Groups first..last of up to two panels, unpacked: (tiles, kBundlePanels).
struct UnpackedWeights {
  WeightTile* tiles;
  std::size_t first, last;
};

// Up to 32 tokens times up to two panels.
struct TiledProducts {
  const PackedWeights& w;
  const QuantizedTokens& a;
  const UnpackedWeights& unpacked;
  std::size_t panel, panels, token, tokens;

  // A token's products with a panel: the exact sums of a group, and what was added up of the groups before.
  struct alignas(64) Row {
    std::int32_t sums[kPanelRows];
    float totals[kPanelRows];
  };
  Row rows[kBundlePanels][2 * kTileRows];

  void run(const Output& out, GroupTiles whole, GroupTiles last_shape) {
    take_totals(out);
    const WeightTile* tiles = unpacked.tiles;
    std::size_t depth = 0;
    for (std::size_t g = unpacked.first; g < unpacked.last; ++g) {
      const GroupTiles shape = g + 1 < w.groups() ? whole : last_shape;
      if (shape.depth != depth) use_four_sums(tokens, 2 * shape.depth);
      depth = shape.depth;
      multiply(g, shape, tiles);
      // While these products are on their way.
      if (g > unpacked.first) scale(g - 1);
      store();
      tiles += shape.count * kBundlePanels;
    }
    scale(unpacked.last - 1);
    put_totals(out);
  }

  void take_totals(const Output& out) {
    for (std::size_t p = 0; p < panels; ++p) {
      for (std::size_t t = 0; t < tokens; ++t) {
        const float* const from = out.row(token + t) + (panel + p) * kPanelRows;
        const __m512 before = out.add ? _mm512_maskz_loadu_ps(rows_of(w, panel + p), from) : _mm512_setzero_ps();
        _mm512_store_ps(rows[p][t].totals, before);
      }
    }
  }

  void put_totals(const Output& out) const {
    for (std::size_t p = 0; p < panels; ++p) {
      for (std::size_t t = 0; t < tokens; ++t) {
        float* const to = out.row(token + t) + (panel + p) * kPanelRows;
        _mm512_mask_storeu_ps(to, rows_of(w, panel + p), _mm512_load_ps(rows[p][t].totals));
      }
    }
  }

  TERSOR_INLINE static void multiply_tiles(const std::int8_t* from, std::size_t width, bool two_tiles,
                                           const WeightTile* weights, bool two_panels) {
    _tile_loadd(4, from, width);
    _tile_loadd(6, weights[0], kTileBytes);
    _tile_dpbssd(0, 4, 6);
    if (two_panels) {
      _tile_loadd(7, weights[1], kTileBytes);
      _tile_dpbssd(1, 4, 7);
    }
    if (!two_tiles) return;
    _tile_loadd(5, from + kTileRows * width, width);
    _tile_dpbssd(2, 5, 6);
    if (two_panels) _tile_dpbssd(3, 5, 7);
  }

  void multiply(std::size_t g, GroupTiles shape, const WeightTile* tiles) const {
    const std::size_t width = w.chunks() * kChunk;
    const std::int8_t* from = a.codes + token * width + g * w.group_chunks() * kChunk;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t tile = 0; tile < shape.count; ++tile) {
      multiply_tiles(from, width, tokens > kTileRows, tiles + tile * kBundlePanels, panels == 2);
      from += shape.depth * kChunk;
    }
  }

  void store() {
    _tile_stored(0, rows[0], sizeof(Row));
    if (panels == 2) _tile_stored(1, rows[1], sizeof(Row));
    if (tokens <= kTileRows) return;
    _tile_stored(2, rows[0] + kTileRows, sizeof(Row));
    if (panels == 2) _tile_stored(3, rows[1] + kTileRows, sizeof(Row));
  }

  void scale(std::size_t g) {
    const std::size_t groups = w.groups(), parameter = (panel * groups + g) * kPanelRows;
    for (std::size_t p = 0; misses_zeros(w) && p < panels; ++p) take_zeros(p, g, parameter + p * groups * kPanelRows);
    const __m512 first = scales_at(w, parameter);
    const __m512 second = panels == 2 ? scales_at(w, parameter + groups * kPanelRows) : first;
    const float* of_token = a.scales + token * groups + g;
    if (panels == 2) {
#pragma GCC unroll 4
      for (std::size_t t = 0; t < tokens; ++t) {
        const __m512 scale = _mm512_set1_ps(of_token[t * groups]);
        add_scaled(rows[0][t], first, scale);
        add_scaled(rows[1][t], second, scale);
      }
    } else {
      for (std::size_t t = 0; t < tokens; ++t) add_scaled(rows[0][t], first, _mm512_set1_ps(of_token[t * groups]));
    }
  }

  TERSOR_INLINE static void add_scaled(Row& row, __m512 of_weight, __m512 of_token) {
    const __m512 exact = _mm512_cvtepi32_ps(_mm512_load_si512(row.sums));
    const __m512 unit = _mm512_mul_ps(of_weight, of_token);
    _mm512_store_ps(row.totals, _mm512_fmadd_ps(exact, unit, _mm512_load_ps(row.totals)));
  }

  void take_zeros(std::size_t p, std::size_t g, std::size_t parameter) {
    const __m512i missing = missing_of(w, parameter);
    for (std::size_t t = 0; t < tokens; ++t) {
      const __m512i codes = _mm512_set1_epi32(a.sums[(token + t) * w.groups() + g]);
      const __m512i sum = _mm512_load_si512(rows[p][t].sums);
      _mm512_store_si512(rows[p][t].sums, _mm512_add_epi32(sum, _mm512_mullo_epi32(missing, codes)));
    }
  }
};

template <unsigned kBits>
void long_linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
                        std::size_t last, GroupTiles whole, GroupTiles last_shape) {
  // Tiles of a panel that are unpacked at once, unless a group has more: 2048 columns.
  constexpr std::size_t kMostTiles = 32;
  const std::size_t groups = w.groups();
  const std::size_t most = whole.count > last_shape.count ? whole.count : last_shape.count;
  const std::size_t together = most < kMostTiles ? kMostTiles / most : 1;
  const LineMemory tiles(together * most * kBundlePanels * sizeof(WeightTile));
  UnpackedWeights unpacked = {tiles.as<WeightTile>(), 0, 0};
  for (std::size_t panel = first; panel < last; panel += panels_together(panel, last)) {
    const std::size_t panels = panels_together(panel, last);
    for (unpacked.first = 0; unpacked.first < groups; unpacked.first = unpacked.last) {
      unpacked.last = unpacked.first + together < groups ? unpacked.first + together : groups;
      for (std::size_t g = unpacked.first; g < unpacked.last; ++g) {
        WeightTile* const to = unpacked.tiles + (g - unpacked.first) * whole.count * kBundlePanels;
        const GroupTiles shape = g + 1 < groups ? whole : last_shape;
        for (std::size_t p = 0; p < panels; ++p) unpack_group<kBits>(w, panel + p, g, shape, to + p, kBundlePanels);
      }
      finish_writing();
      const Output to = {out.y, out.stride, out.add || unpacked.first > 0};
      for (std::size_t token = 0; token < a.tokens; token += 2 * kTileRows) {
        const std::size_t left = a.tokens - token;
        const std::size_t count = left < 2 * kTileRows ? left : 2 * kTileRows;
        TiledProducts{w, a, unpacked, panel, panels, token, count, {}}.run(to, whole, last_shape);
      }
    }
  }
}

}  // namespace
}  // namespace tersor
