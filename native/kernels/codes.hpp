// How codes lie in memory.
//
// A chunk is 16 rows x 8 columns, and has two halves of 64 codes, row by row: of columns 0..3 and of columns
// 4..7. Codes of 8 bits: 64 bytes for each half. Of 4 bits: 64 bytes, whose low bits are the first half. Of 2
// bits: 32 bytes, of which the i-th holds, from its low bits up, codes i and i + 32 of the first half and of the
// second. Of 3 bits: their low two as of 2 bits, then for each half 64 bits, which are the third. Of 5 bits: their low
// four as of 4 bits, then 64 bits for each half. Of 6 bits: their low four as of 4 bits, then the others as of 2 bits.
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
  return bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8;
}

// Bytes of a chunk.
TERSOR_INLINE constexpr std::size_t chunk_bytes(unsigned bits) {
  return kPanelRows * kChunk * bits / 8;
}

// Where the last bits of a half are, of codes of 3 or 5 bits, and where the last two are of codes of 6 bits.
TERSOR_INLINE constexpr std::size_t last_bits(unsigned bits, std::size_t half) {
  return chunk_bytes(bits - 1) + 8 * half;
}
constexpr std::size_t kLastTwoBits = chunk_bytes(4);

// Where the bits of a code are that one half or quarter of a byte holds: of 4 bits, or of 2.
struct PartOfByte {
  std::size_t byte, shift;
  unsigned mask;

  TERSOR_INLINE static PartOfByte of_four(std::size_t half, std::size_t i) { return {i, 4 * half, 15}; }
  TERSOR_INLINE static PartOfByte of_two(std::size_t half, std::size_t i) {
    return {i % 32, 4 * half + i / 32 * 2, 3};
  }
  TERSOR_INLINE static PartOfByte of_last(unsigned bits, std::size_t half, std::size_t i) {
    return {last_bits(bits, half) + i / 8, i % 8, 1};
  }
  TERSOR_INLINE unsigned get(const std::uint8_t* chunk) const { return chunk[byte] >> shift & mask; }
  TERSOR_INLINE void add(std::uint8_t* chunk, unsigned value) const {
    chunk[byte] = static_cast<std::uint8_t>(chunk[byte] | (value & mask) << shift);
  }
};

// The code of a row (of a panel) and a column (of a chunk).
TERSOR_INLINE inline unsigned code_at(const std::uint8_t* chunk, unsigned bits, std::size_t row, std::size_t column) {
  const std::size_t half = column / 4, i = row * 4 + column % 4;
  if (bits == 8) return chunk[half * 64 + i];
  if (bits < 4) {
    const unsigned low = PartOfByte::of_two(half, i).get(chunk);
    return bits == 2 ? low : low | PartOfByte::of_last(bits, half, i).get(chunk) << 2;
  }
  const unsigned low = PartOfByte::of_four(half, i).get(chunk);
  if (bits == 4) return low;
  if (bits == 5) return low | PartOfByte::of_last(bits, half, i).get(chunk) << 4;
  return low | PartOfByte::of_two(half, i).get(chunk + kLastTwoBits) << 4;
}

// Sets a code of a chunk that was 0.
TERSOR_INLINE inline void put_code(std::uint8_t* chunk, unsigned bits, std::size_t row, std::size_t column,
                                   unsigned code) {
  const std::size_t half = column / 4, i = row * 4 + column % 4;
  if (bits == 8) {
    chunk[half * 64 + i] = static_cast<std::uint8_t>(code);
    return;
  }
  if (bits < 4) {
    PartOfByte::of_two(half, i).add(chunk, code);
  } else {
    PartOfByte::of_four(half, i).add(chunk, code);
  }
  if (bits % 2 == 1) PartOfByte::of_last(bits, half, i).add(chunk, code >> (bits - 1));
  if (bits == 6) PartOfByte::of_two(half, i).add(chunk + kLastTwoBits, code >> 4);
}

}  // namespace tersor
