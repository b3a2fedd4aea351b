// How codes lie in memory.
//
// A chunk is 16 rows x 8 columns, and has two halves of 64 codes, row by row: of columns 0..3 and of columns
// 4..7. Codes of 8 bits: 64 bytes for each half. Of 4 bits: 64 bytes, whose low bits are the first half. Of 2
// bits: 32 bytes, of which the i-th holds, from its low bits up, codes i and i + 32 of the first half and of the
// second. Of 3 bits: their low two as of 2 bits, then for each half 64 bits, which are the third.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vectors/inlining.hpp"

namespace tersor {

// Rows of a weight that are multiplied together: a panel.
constexpr std::size_t kPanelRows = 16;
// Columns of a group come in chunks of 8; missing ones hold activation 0.
constexpr std::size_t kChunk = 8;

TERSOR_INLINE constexpr bool is_packed_width(unsigned bits) {
  return bits == 2 || bits == 3 || bits == 4 || bits == 8;
}

// Bytes of a chunk.
TERSOR_INLINE constexpr std::size_t chunk_bytes(unsigned bits) {
  return kPanelRows * kChunk * bits / 8;
}

// Where the third bits of a half are.
TERSOR_INLINE constexpr std::size_t third_bits(std::size_t half) { return chunk_bytes(2) + 8 * half; }

// The code of a row (of a panel) and a column (of a chunk).
TERSOR_INLINE inline unsigned code_at(const std::uint8_t* chunk, unsigned bits, std::size_t row, std::size_t column) {
  const std::size_t half = column / 4, i = row * 4 + column % 4;
  if (bits == 8) return chunk[half * 64 + i];
  if (bits == 4) return chunk[i] >> (4 * half) & 15u;
  const unsigned low = chunk[i % 32] >> (4 * half + i / 32 * 2) & 3u;
  if (bits == 2) return low;
  return low | (chunk[third_bits(half) + i / 8] >> i % 8 & 1u) << 2;
}

// Sets a code of a chunk that was 0.
TERSOR_INLINE inline void put_code(std::uint8_t* chunk, unsigned bits, std::size_t row, std::size_t column,
                                   unsigned code) {
  const std::size_t half = column / 4, i = row * 4 + column % 4;
  const auto add = [&](std::size_t byte, unsigned value, std::size_t shift) {
    chunk[byte] = static_cast<std::uint8_t>(chunk[byte] | value << shift);
  };
  if (bits == 8) {
    add(half * 64 + i, code & 255u, 0);
  } else if (bits == 4) {
    add(i, code & 15u, 4 * half);
  } else {
    add(i % 32, code & 3u, 4 * half + i / 32 * 2);
    if (bits == 3) add(third_bits(half) + i / 8, code >> 2 & 1u, i % 8);
  }
}

}  // namespace tersor
