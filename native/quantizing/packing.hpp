// Dense bit packing: code i of a row occupies bits [i*bits, (i+1)*bits) of that row's
// little-endian stream of 32-bit words. This is the layout of compressed-tensors'
// `pack-quantized` for every width, and of GPTQ's for widths that divide 32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersor {

constexpr std::size_t words_per_row(std::size_t cols, unsigned bits) {
  return (cols * bits + 31) / 32;
}

// codes: (rows, cols), each < 2^bits. words: (rows, words_per_row), overwritten.
void pack_rows(const std::uint8_t* codes, std::uint32_t* words, std::size_t rows,
               std::size_t cols, unsigned bits);

// The inverse; reads exactly words_per_row words of each row.
void unpack_rows(const std::uint32_t* words, std::uint8_t* codes, std::size_t rows,
                 std::size_t cols, unsigned bits);

}  // namespace tersor
