// Tiles of 8-bit integers: 16 tokens x 64 columns times 64 columns x 16 rows of weights.
//
// Weights become signed bytes less their zeros, in a tile's order, some columns of some panels at a time, and
// serve all tokens. Sums of a group are exact and scaled as with AVX-512 VNNI, so the results have the same bits.
#pragma once

#include "kernels/avx512/unpacking.hpp"

namespace tersor {
namespace {

constexpr std::size_t kTileRows = 16, kTileBytes = 64;
// Fewer tokens are multiplied sooner without tiles.
constexpr std::size_t kLeastTokens = 16;

typedef std::int8_t WeightTile[kTileRows * kTileBytes];

// How large the tiles are, as the instruction wants it.
struct TileSizes {
  std::uint8_t palette = 1, start = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(std::size_t tile, std::size_t count, std::size_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(count);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }

  // The compiler believes that only the first bytes are read.
  void use() const {
    asm volatile("" : : "r"(this) : "memory");
    _tile_loadconfig(this);
  }
};

// Tiles 0..3: sums of up to 32 tokens with two tiles of weights, by tokens and weights; 4 and 5: tokens; 6 and 7:
// weights, `rows` of them, each of which holds four bytes of a token's.
void use_four_sums(std::size_t tokens, std::size_t rows) {
  TileSizes sizes;
  const std::size_t first = tokens < kTileRows ? tokens : kTileRows;
  const std::size_t second = tokens > kTileRows ? tokens - kTileRows : first;
  for (std::size_t i = 0; i < 2; ++i) {
    sizes.set(i, first, kTileBytes);
    sizes.set(2 + i, second, kTileBytes);
    sizes.set(6 + i, rows, kTileBytes);
  }
  sizes.set(4, first, rows * 4);
  sizes.set(5, second, rows * 4);
  sizes.use();
}

// The compiler does not know that tiles are loaded from memory: what was written has to be there before.
TERSOR_INLINE inline void finish_writing() { asm volatile("" : : : "memory"); }

// A group as tiles: `depth` chunks in each. Nothing fits if depth is 0.
struct GroupTiles {
  std::size_t depth, count;

  TERSOR_INLINE static GroupTiles of(std::size_t chunks) {
    for (std::size_t depth = kTileBytes / kChunk; depth >= 3; --depth) {
      if (chunks % depth == 0) return {depth, chunks / depth};
    }
    return {0, 0};
  }
};

// By how much a weight's code is more than what is multiplied.
TERSOR_INLINE inline __m512i shift_of(const PackedWeights& w, std::size_t parameter) {
  if (w.bits == 8) return _mm512_set1_epi8(-128);
  if (w.zeros == nullptr) return _mm512_set1_epi8(static_cast<char>(w.zero));
  return _mm512_mullo_epi32(zeros_at(w, parameter), _mm512_set1_epi32(0x01010101));
}

// A group of a panel; from one tile of it to the next are `step` tiles.
template <unsigned kBits>
void unpack_group(const PackedWeights& w, std::size_t panel, std::size_t g, GroupTiles shape,
                         WeightTile* tiles, std::size_t step) {
  const std::size_t chunk_step = w.chunk_step(panel);
  const std::uint8_t* codes = w.codes + w.first_chunk(panel) + g * w.group_chunks() * chunk_step;
  const __m512i shift = shift_of(w, (panel * w.groups() + g) * kPanelRows);
  for (std::size_t tile = 0; tile < shape.count; ++tile) {
    std::int8_t* const to = tiles[tile * step];
    for (std::size_t c = 0; c < shape.depth; ++c, codes += chunk_step) {
      __m512i low, high;
      unpack<kBits>(codes, low, high);
      _mm512_store_si512(to + 2 * c * kTileBytes, _mm512_sub_epi8(low, shift));
      _mm512_store_si512(to + (2 * c + 1) * kTileBytes, _mm512_sub_epi8(high, shift));
    }
  }
}

// Codes of 8 bits were shifted by 128, whatever their zeros are.
TERSOR_INLINE inline bool misses_zeros(const PackedWeights& w) {
  return w.bits == 8 && (w.zeros != nullptr || w.zero != 128);
}

// What a code of an activation adds to a sum for that.
TERSOR_INLINE inline __m512i missing_of(const PackedWeights& w, std::size_t parameter) {
  const __m512i zeros = w.zeros == nullptr ? _mm512_set1_epi32(w.zero) : zeros_at(w, parameter);
  return _mm512_sub_epi32(_mm512_set1_epi32(128), zeros);
}

}  // namespace
}  // namespace tersor
