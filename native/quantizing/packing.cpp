#include "quantizing/packing.hpp"

#include "threads/parallel.hpp"

namespace tersor {
namespace {

// The width is a template parameter so that the shifts below become constants.
template <unsigned Bits>
void pack_row(const std::uint8_t* codes, std::uint32_t* words, std::size_t cols) {
  constexpr std::uint64_t kMask = (1u << Bits) - 1;
  std::uint64_t pending = 0;
  unsigned filled = 0;
  for (std::size_t i = 0; i < cols; ++i) {
    pending |= (codes[i] & kMask) << filled;
    filled += Bits;
    if (filled >= 32) {
      *words++ = static_cast<std::uint32_t>(pending);
      pending >>= 32;
      filled -= 32;
    }
  }
  if (filled > 0) *words = static_cast<std::uint32_t>(pending);
}

template <unsigned Bits>
void unpack_row(const std::uint32_t* words, std::uint8_t* codes, std::size_t cols) {
  constexpr std::uint64_t kMask = (1u << Bits) - 1;
  std::uint64_t pending = 0;
  unsigned available = 0;
  for (std::size_t i = 0; i < cols; ++i) {
    if (available < Bits) {
      pending |= static_cast<std::uint64_t>(*words++) << available;
      available += 32;
    }
    codes[i] = static_cast<std::uint8_t>(pending & kMask);
    pending >>= Bits;
    available -= Bits;
  }
}

using PackRow = void (*)(const std::uint8_t*, std::uint32_t*, std::size_t);
using UnpackRow = void (*)(const std::uint32_t*, std::uint8_t*, std::size_t);

constexpr PackRow kPack[] = {nullptr,     pack_row<1>, pack_row<2>, pack_row<3>, pack_row<4>,
                             pack_row<5>, pack_row<6>, pack_row<7>, pack_row<8>};
constexpr UnpackRow kUnpack[] = {nullptr,       unpack_row<1>, unpack_row<2>,
                                 unpack_row<3>, unpack_row<4>, unpack_row<5>,
                                 unpack_row<6>, unpack_row<7>, unpack_row<8>};

}  // namespace

void pack_rows(const std::uint8_t* codes, std::uint32_t* words, std::size_t rows,
               std::size_t cols, unsigned bits) {
  const std::size_t stride = words_per_row(cols, bits);
  const PackRow pack = kPack[bits];
  parallel_for(rows, cols, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) pack(codes + r * cols, words + r * stride, cols);
  });
}

void unpack_rows(const std::uint32_t* words, std::uint8_t* codes, std::size_t rows,
                 std::size_t cols, unsigned bits) {
  const std::size_t stride = words_per_row(cols, bits);
  const UnpackRow unpack = kUnpack[bits];
  parallel_for(rows, cols, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) unpack(words + r * stride, codes + r * cols, cols);
  });
}

}  // namespace tersor
