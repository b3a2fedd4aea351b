// Linears by tiles where there are enough tokens, else as with AVX-512 VNNI.
#pragma once

#include "kernels/amx/bytes.hpp"
#include "kernels/amx/grouped_linear.hpp"
#include "kernels/amx/long_groups.hpp"
#include "kernels/kernels.hpp"

namespace tersor {
namespace {

template <unsigned kBits>
void tiled_linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
                         std::size_t last, GroupTiles whole, GroupTiles last_shape) {
  const std::size_t most = whole.count > last_shape.count ? whole.count : last_shape.count;
  if (most <= kGroupedTiles) {
    GroupedLinear<kBits>(w, a, out, whole, last_shape).run(first, last);
  } else {
    long_linear<kBits>(w, a, out, first, last, whole, last_shape);
  }
  _tile_release();
}

bool byte_linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
                        std::size_t last) {
  if (w.bits != 8 || w.groups() > 1 || ByteLinear::depth_of(w) == 0) return false;
  ByteLinear(w, a, out).run(first, last);
  _tile_release();
  return true;
}

void linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
                   std::size_t last) {
  const auto without = avx512_vnni_kernels()->linear;
  if (a.tokens < kLeastTokens) return without(w, a, out, first, last);
  const GroupTiles whole = GroupTiles::of(w.group_chunks());
  const GroupTiles last_shape = GroupTiles::of(w.chunks() - (w.groups() - 1) * w.group_chunks());
  if (whole.depth == 0 || last_shape.depth == 0) return without(w, a, out, first, last);
  if (byte_linear(w, a, out, first, last)) return;
  const auto run = w.bits == 8   ? tiled_linear<8>
                   : w.bits == 6 ? tiled_linear<6>
                   : w.bits == 5 ? tiled_linear<5>
                   : w.bits == 4 ? tiled_linear<4>
                   : w.bits == 3 ? tiled_linear<3>
                                 : tiled_linear<2>;
  run(w, a, out, first, last, whole, last_shape);
}

std::size_t multiply_only(std::size_t rounds) {
  constexpr std::size_t kSums = 4;
  TileSizes sizes;
  for (std::size_t i = 0; i < 8; ++i) sizes.set(i, kTileRows, kTileBytes);
  sizes.use();
  for (std::size_t round = 0; round < rounds; ++round) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
  return rounds * kSums * kTileRows * kPanelRows * kTileBytes;
}

}  // namespace
}  // namespace tersor
