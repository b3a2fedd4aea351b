// The loops around some short groups: panels, groups and tokens.
#pragma once

#include "kernels/amx/short_groups.hpp"

namespace tersor {
namespace {

// Tiles 0 and 1: sums; 2 and 4: tokens; 3 and 5: weights.
void configure_groups(std::size_t tokens, std::size_t depth) {
  TileSizes sizes;
  for (std::size_t i = 0; i < 2; ++i) {
    sizes.set(i, tokens, kTileBytes);
    sizes.set(2 + 2 * i, tokens, depth * kChunk);
    sizes.set(3 + 2 * i, 2 * depth, kTileBytes);
  }
  sizes.use();
}

template <std::size_t kCount, bool kMissesZeros>
void multiply_near(const PackedWeights& w, const QuantizedTokens& a, const NearGroups& near,
                           const TokenTiles& codes, const TokenParameters& parameters, const Output& out) {
  const std::size_t left = a.tokens % kTileRows;
  configure_groups(kTileRows, near.shape.depth);
  for (std::size_t token = 0; token < a.tokens; token += kTileRows) {
    if (token + kTileRows > a.tokens) configure_groups(left, near.shape.depth);
    near.fetch_next(token, a.tokens);
    GroupProducts<kCount, kMissesZeros>(w, a, near, codes, parameters, token).run(out);
  }
}

template <unsigned kBits>
struct GroupedLinear {
  // Rows of codes this long lie on pages of their own: before they are multiplied, those of near groups are
  // copied tile after tile, which then serve more panels.
  static constexpr std::size_t kLongRow = 4096, kPanelsOfCopy = 48;

  const PackedWeights& w;
  const QuantizedTokens& a;
  const Output& out;
  GroupTiles whole, last_shape;
  TokenParameters parameters;
  LineMemory copied;
  NearGroups near;

  GroupedLinear(const PackedWeights& weights, const QuantizedTokens& tokens, const Output& to, GroupTiles shape,
                GroupTiles shape_of_last)
      : w(weights),
        a(tokens),
        out(to),
        whole(shape),
        last_shape(shape_of_last),
        parameters(weights, tokens),
        copied(is_long(weights) ? copied_bytes(tokens) : 0) {}

  static bool is_long(const PackedWeights& w) { return w.chunks() * kChunk > kLongRow; }
  static std::size_t copied_bytes(const QuantizedTokens& a) {
    return (a.tokens + kTileRows - 1) / kTileRows * kGroupedTiles * sizeof(WeightTile);
  }

  void run(std::size_t first, std::size_t last) {
    const std::size_t groups = w.groups();
    const bool copies = is_long(w);
    for (std::size_t panel = first; panel < last;) {
      const std::size_t most = copies ? kPanelsOfCopy : kGroupedPanels;
      const std::size_t stop = panel + most < last ? panel + most : last;
      for (near.first = 0; near.first < groups; near.first = near.last) {
        choose_groups();
        const TokenTiles codes = copies ? copy_tokens() : tokens_in_place();
        for (near.panel = panel; near.panel < stop; near.panel += near.panels) {
          near.panels = stop - near.panel < kGroupedPanels ? stop - near.panel : kGroupedPanels;
          multiply(codes);
        }
      }
      panel = stop;
    }
  }

  // From near.first on: as many groups of one shape as fit, in parts of about one size.
  void choose_groups() {
    const std::size_t groups = w.groups();
    const bool same = whole.depth == last_shape.depth && whole.count == last_shape.count;
    const std::size_t others = same ? groups : groups - 1;
    near.shape = near.first < others ? whole : last_shape;
    const std::size_t left = near.first < others ? others - near.first : 1;
    const std::size_t most = kGroupedTiles / near.shape.count, parts = (left + most - 1) / most;
    near.last = near.first + (left + parts - 1) / parts;
  }

  TokenTiles tokens_in_place() const {
    const std::size_t width = w.chunks() * kChunk;
    return {a.codes + near.first * w.group_chunks() * kChunk, kTileRows * width, width,
            near.shape.depth * kChunk};
  }

  TokenTiles copy_tokens() const {
    WeightTile* const tiles_of = copied.as<WeightTile>();
    const TokenTiles from = tokens_in_place();
    const std::size_t tiles = (near.last - near.first) * near.shape.count;
    const __mmask64 bytes = ~std::uint64_t{0} >> (64 - from.tile_step);
    for (std::size_t token = 0; token < a.tokens; ++token) {
      const std::int8_t* const row = from.codes + token * from.token_step;
      std::int8_t* const to = tiles_of[token / kTileRows * tiles] + token % kTileRows * kTileBytes;
      for (std::size_t tile = 0; tile < tiles; ++tile) {
        const __m512i codes = _mm512_maskz_loadu_epi8(bytes, row + tile * from.tile_step);
        _mm512_store_si512(to + tile * sizeof(WeightTile), codes);
      }
    }
    finish_writing();
    return {tiles_of[0], tiles * sizeof(WeightTile), kTileBytes, sizeof(WeightTile)};
  }

  void multiply(const TokenTiles& codes) {
    const std::size_t chunks = (near.last - near.first) * w.group_chunks();
    near.next_bytes = chunks * w.chunk_step(near.panel);
    near.next = w.codes + w.first_chunk(near.panel) + near.first * w.group_chunks() * w.chunk_step(near.panel) +
                near.next_bytes;
    for (std::size_t p = 0; p < near.panels; ++p) {
      for (std::size_t g = near.first; g < near.last; ++g) {
        WeightTile* const to = near.tiles[p] + (g - near.first) * near.shape.count;
        unpack_group<kBits>(w, near.panel + p, g, near.shape, to, 1);
      }
    }
    finish_writing();
    if (misses_zeros(w)) {
      multiply_by_count<true>(codes);
    } else {
      multiply_by_count<false>(codes);
    }
  }

  template <bool kMissesZeros>
  void multiply_by_count(const TokenTiles& codes) const {
    const auto run = near.shape.count == 1   ? multiply_near<1, kMissesZeros>
                     : near.shape.count == 2 ? multiply_near<2, kMissesZeros>
                                             : multiply_near<0, kMissesZeros>;
    run(w, a, near, codes, parameters, out);
  }
};

}  // namespace
}  // namespace tersor
