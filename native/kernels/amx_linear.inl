// Linears by tiles where there are enough tokens, else as with AVX-512 VNNI.

#include "amx_tiles.inl"
#include "amx_groups.inl"
#include "amx_long_groups.inl"

template <unsigned kBits>
static void tiled_linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
                         std::size_t last, GroupTiles whole, GroupTiles last_shape) {
  const std::size_t most = whole.count > last_shape.count ? whole.count : last_shape.count;
  if (most <= kGroupedTiles) {
    GroupedLinear<kBits>(w, a, out, whole, last_shape).run(first, last);
  } else {
    long_linear<kBits>(w, a, out, first, last, whole, last_shape);
  }
  _tile_release();
}

static void linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out, std::size_t first,
                   std::size_t last) {
  const GroupTiles whole = GroupTiles::of(w.group_chunks());
  const GroupTiles last_shape = GroupTiles::of(w.chunks() - (w.groups() - 1) * w.group_chunks());
  if (a.tokens < kLeastTokens || whole.depth == 0 || last_shape.depth == 0) {
    return avx512_vnni_kernels()->linear(w, a, out, first, last);
  }
  const auto run = w.bits == 8   ? tiled_linear<8>
                   : w.bits == 4 ? tiled_linear<4>
                   : w.bits == 3 ? tiled_linear<3>
                                 : tiled_linear<2>;
  run(w, a, out, first, last, whole, last_shape);
}
