// Linears of many tokens by tiles, with short groups, where scaling is most of the work: 16 tokens times 16 rows,
// whose totals stay in registers, while the weights of some groups stay near, in the first cache. Sums of two groups
// take turns in tiles 0 and 1, so that one is multiplied while the other is scaled.
#pragma once

#include "kernels/amx/tiles.hpp"
#include "memory/line_memory.hpp"

namespace tersor {
namespace {

// Tiles of a panel and panels that stay near.
constexpr std::size_t kGroupedTiles = 9, kGroupedPanels = 2;

// Weights of the groups first..last of the panels `panel` and so on, which stay in the first cache.
struct NearGroups {
  alignas(64) WeightTile tiles[kGroupedPanels][kGroupedTiles];
  std::size_t panel, panels, first, last;
  GroupTiles shape;
  // Packed codes that will be unpacked next, which are fetched while these weights are multiplied.
  const std::uint8_t* next;
  std::size_t next_bytes;

  void fetch_next(std::size_t token, std::size_t tokens) const {
    constexpr std::size_t kLine = 64;
    const std::size_t last = next_bytes * (token + kTileRows < tokens ? token + kTileRows : tokens) / tokens;
    std::size_t at = (next_bytes * token / tokens + kLine - 1) / kLine * kLine;
    for (; at < last; at += kLine) __builtin_prefetch(next + at, 0, 2);
  }
};

// Where the tokens' codes for those groups are: bytes from 16 tokens to the next, from token to token, and from one
// tile's columns to the next's.
struct TokenTiles {
  const std::int8_t* codes;
  std::size_t many_step, token_step, tile_step;
};

// Scales of tokens and, where zeros are missing, sums of their codes: of 16 tokens for one group after the other, and
// 0 for missing tokens.
struct TokenParameters {
  LineMemory scales, sums;

  TokenParameters(const PackedWeights& w, const QuantizedTokens& a)
      : scales(count_of(w, a) * sizeof(float)), sums(misses_zeros(w) ? count_of(w, a) * sizeof(std::int32_t) : 0) {
    const std::size_t groups = w.groups();
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i rows = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int>(groups)));
    for (std::size_t token = 0; token < a.tokens; token += kTileRows) {
      const std::size_t left = a.tokens - token;
      const __mmask16 there = static_cast<__mmask16>(left < kTileRows ? (1u << left) - 1 : 0xffff);
      for (std::size_t g = 0; g < groups; ++g) {
        const std::size_t from = token * groups + g, to = token * groups + g * kTileRows;
        const __m512 scale = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, rows, a.scales + from, 4);
        _mm512_store_ps(scales.as<float>() + to, scale);
        if (!misses_zeros(w)) continue;
        const __m512i sum = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), there, rows, a.sums + from, 4);
        _mm512_store_si512(sums.as<std::int32_t>() + to, sum);
      }
    }
  }

  static std::size_t count_of(const PackedWeights& w, const QuantizedTokens& a) {
    return (a.tokens + kTileRows - 1) / kTileRows * w.groups() * kTileRows;
  }
};

// 16 tokens, or the fewer that are left, times near groups with kCount tiles to a group, or with any number if it is 0.
template <std::size_t kCount, bool kMissesZeros>
struct GroupProducts {
  typedef __m512 Totals[kTileRows];

  const PackedWeights& w;
  const NearGroups& near;
  const TokenTiles& codes;
  std::size_t token, tokens, groups;
  const float* scales;
  const std::int32_t* code_sums;
  alignas(64) std::int32_t sums[2][kTileRows][kPanelRows];

  GroupProducts(const PackedWeights& weights, const QuantizedTokens& a, const NearGroups& of,
                const TokenTiles& codes_of, const TokenParameters& parameters, std::size_t from)
      : w(weights), near(of), codes(codes_of), token(from), groups(weights.groups()) {
    tokens = a.tokens - token < kTileRows ? a.tokens - token : kTileRows;
    const std::size_t first = token * groups + near.first * kTileRows;
    scales = parameters.scales.as<float>() + first;
    code_sums = parameters.sums.as<std::int32_t>() + (kMissesZeros ? first : 0);
  }

  // The next tiles, and what is far to load: locals, because after every tile that is stored the compiler loads all
  // else anew.
  struct Place {
    const std::int8_t* tokens;
    const WeightTile* weights;
    std::size_t token_step, tile_step, count;
  };

  Place place_of(std::size_t p) const {
    return {codes.codes + token / kTileRows * codes.many_step, near.tiles[p], codes.token_step, codes.tile_step,
            near.shape.count};
  }

  void run(const Output& out) {
    Place place = place_of(0);
    multiply<0>(place);
    bool second = false;
    for (std::size_t p = 0; p < near.panels; ++p) {
      second = second ? run_panel<1>(out, p, place) : run_panel<0>(out, p, place);
    }
  }

  // Of a panel whose first products are on their way to the tile kFirst. The next panel's first follow its last;
  // returns whether to tile 1.
  template <int kFirst>
  TERSOR_INLINE bool run_panel(const Output& out, std::size_t p, Place& place) {
    const std::size_t parameter = ((near.panel + p) * groups + near.first) * kPanelRows;
    const std::size_t last = near.last - near.first;
    Totals totals;
    take_totals(out, near.panel + p, totals);
    std::size_t g = 0;
    for (;;) {
      store<kFirst>();
      proceed<1 - kFirst>(p, g + 1 == last, place);
      scale(parameter, g, sums[kFirst], totals);
      if (++g == last) break;
      store<1 - kFirst>();
      proceed<kFirst>(p, g + 1 == last, place);
      scale(parameter, g, sums[1 - kFirst], totals);
      if (++g == last) break;
    }
    put_totals(out, near.panel + p, totals);
    return (kFirst + last) % 2 == 1;
  }

  template <int kSums>
  TERSOR_INLINE void proceed(std::size_t p, bool is_last, Place& place) const {
    if (is_last) {
      if (p + 1 == near.panels) return;
      place = place_of(p + 1);
    }
    multiply<kSums>(place);
  }

  // Names of tiles have to be literals.
  template <int kSums>
  TERSOR_INLINE void store() {
    if constexpr (kSums == 0) {
      _tile_stored(0, sums[0], kTileBytes);
    } else {
      _tile_stored(1, sums[1], kTileBytes);
    }
  }

  template <int kSums>
  TERSOR_INLINE static void multiply(Place& place) {
    if constexpr (kSums == 0) {
      _tile_zero(0);
    } else {
      _tile_zero(1);
    }
    for (std::size_t tile = 0; tile < (kCount == 0 ? place.count : kCount); ++tile) {
      if constexpr (kSums == 0) {
        _tile_loadd(2, place.tokens, place.token_step);
        _tile_loadd(3, *place.weights, kTileBytes);
        _tile_dpbssd(0, 2, 3);
      } else {
        _tile_loadd(4, place.tokens, place.token_step);
        _tile_loadd(5, *place.weights, kTileBytes);
        _tile_dpbssd(1, 4, 5);
      }
      place.tokens += place.tile_step;
      ++place.weights;
    }
  }

  TERSOR_INLINE void take_totals(const Output& out, std::size_t panel, Totals& totals) const {
    const __mmask16 rows = rows_of(w, panel);
    const bool adds = out.add || near.first > 0;
#pragma GCC unroll 16
    for (std::size_t t = 0; t < kTileRows; ++t) {
      const bool is_there = adds && t < tokens;
      totals[t] = is_there ? _mm512_maskz_loadu_ps(rows, out.row(token + t) + panel * kPanelRows)
                           : _mm512_setzero_ps();
    }
  }

  TERSOR_INLINE void put_totals(const Output& out, std::size_t panel, const Totals& totals) const {
    float* const to = out.row(token) + panel * kPanelRows;
    const __mmask16 rows = rows_of(w, panel);
    if (tokens == kTileRows && rows == 0xffff) {
#pragma GCC unroll 16
      for (std::size_t t = 0; t < kTileRows; ++t) _mm512_storeu_ps(to + t * out.stride, totals[t]);
      return;
    }
#pragma GCC unroll 16
    for (std::size_t t = 0; t < kTileRows; ++t) {
      if (t < tokens) _mm512_mask_storeu_ps(to + t * out.stride, rows, totals[t]);
    }
  }

  TERSOR_INLINE void scale(std::size_t first, std::size_t g, const std::int32_t (*sum)[kPanelRows],
                           Totals& totals) const {
    const std::size_t parameter = first + g * kPanelRows;
    const __m512 of_weights = scales_at(w, parameter);
    const __m512i missing = kMissesZeros ? missing_of(w, parameter) : __m512i{};
#pragma GCC unroll 16
    for (std::size_t t = 0; t < kTileRows; ++t) {
      __m512i exact = _mm512_load_si512(sum[t]);
      if (kMissesZeros) {
        exact = _mm512_add_epi32(exact, _mm512_mullo_epi32(missing, _mm512_set1_epi32(code_sums[g * kTileRows + t])));
      }
      const __m512 unit = _mm512_mul_ps(of_weights, _mm512_set1_ps(scales[g * kTileRows + t]));
      totals[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), unit, totals[t]);
    }
  }
};

}  // namespace
}  // namespace tersor
