// Linears of many tokens by tiles: 16 tokens x 64 columns times 64 columns x 16 rows of weights.
//
// Weights become signed bytes less their zeros, in a tile's order, some columns of two panels at a time, and
// serve all tokens; two tiles of tokens take turns with them. Sums of a group are exact and scaled as with
// AVX-512 VNNI, so the results have the same bits.

constexpr std::size_t kTileRows = 16, kTileBytes = 64;

// How large the tiles are, as the instruction wants it.
struct TileSizes {
  std::uint8_t palette = 1, start = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(std::size_t tile, std::size_t count, std::size_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(count);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};

// Tiles of weights, one after the other, that are unpacked at once for each of two panels: 2048 columns.
constexpr std::size_t kMostTiles = 32;
// Fewer tokens are multiplied sooner without tiles.
constexpr std::size_t kLeastTokens = 16;

// A group as tiles: `depth` chunks in each. Nothing fits if depth is 0.
struct GroupTiles {
  std::size_t depth, count;

  TERSOR_FORCED GroupTiles of(std::size_t chunks) {
    for (std::size_t depth = kTileBytes / kChunk; depth >= 3; --depth) {
      if (chunks % depth == 0 && chunks / depth <= kMostTiles) return {depth, chunks / depth};
    }
    return {0, 0};
  }
};

// Groups first..last, unpacked.
struct UnpackedWeights {
  alignas(64) std::int8_t tiles[kMostTiles * kBlockPanels][kTileRows * kTileBytes];
  std::size_t first, last;
};

// By how much a weight's code is more than what is multiplied.
TERSOR_FORCED __m512i shift_of(const PackedWeights& w, std::size_t parameter) {
  if (w.bits == 8) return _mm512_set1_epi8(-128);
  if (w.zeros == nullptr) return _mm512_set1_epi8(static_cast<char>(w.zero));
  return _mm512_mullo_epi32(zeros_at(w, parameter), _mm512_set1_epi32(0x01010101));
}

template <unsigned kBits>
static void unpack_group(const PackedWeights& w, std::size_t panel, std::size_t panels, std::size_t g,
                         GroupTiles shape, std::int8_t (*tiles)[kTileRows * kTileBytes]) {
  for (std::size_t p = 0; p < panels; ++p) {
    const std::size_t step = w.chunk_step(panel + p);
    const std::uint8_t* codes = w.codes + w.first_chunk(panel + p) + g * w.group_chunks() * step;
    const __m512i shift = shift_of(w, ((panel + p) * w.groups() + g) * kPanelRows);
    for (std::size_t tile = 0; tile < shape.count; ++tile) {
      std::int8_t* const to = tiles[tile * kBlockPanels + p];
      for (std::size_t c = 0; c < shape.depth; ++c, codes += step) {
        __m512i low, high;
        unpack<kBits>(codes, low, high);
        _mm512_store_si512(to + 2 * c * kTileBytes, _mm512_sub_epi8(low, shift));
        _mm512_store_si512(to + (2 * c + 1) * kTileBytes, _mm512_sub_epi8(high, shift));
      }
    }
  }
}

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
  Row rows[kBlockPanels][2 * kTileRows];

  void run(const Output& out, GroupTiles whole, GroupTiles last_shape) {
    take_totals(out);
    const std::int8_t(*tiles)[kTileRows * kTileBytes] = unpacked.tiles;
    std::size_t depth = 0;
    for (std::size_t g = unpacked.first; g < unpacked.last; ++g) {
      const GroupTiles shape = g + 1 < w.groups() ? whole : last_shape;
      if (shape.depth != depth) configure(depth = shape.depth);
      multiply(g, shape, tiles);
      // While these products are on their way.
      if (g > unpacked.first) scale(g - 1);
      store();
      tiles += shape.count * kBlockPanels;
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

  // Tiles 0..3: sums, by tokens and panels; 4 and 5: tokens; 6 and 7: weights.
  void configure(std::size_t depth) const {
    TileSizes sizes;
    const std::size_t first = tokens < kTileRows ? tokens : kTileRows;
    const std::size_t second = tokens > kTileRows ? tokens - kTileRows : first;
    for (std::size_t p = 0; p < kBlockPanels; ++p) {
      sizes.set(p, first, kTileBytes);
      sizes.set(2 + p, second, kTileBytes);
      sizes.set(6 + p, 2 * depth, kTileBytes);
    }
    sizes.set(4, first, depth * kChunk);
    sizes.set(5, second, depth * kChunk);
    _tile_loadconfig(&sizes);
  }

  TERSOR_FORCED void multiply_tiles(const std::int8_t* from, std::size_t width, bool two_tiles,
                                    const std::int8_t (*weights)[kTileRows * kTileBytes], bool two_panels) {
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

  void multiply(std::size_t g, GroupTiles shape, const std::int8_t (*tiles)[kTileRows * kTileBytes]) const {
    const std::size_t width = w.chunks() * kChunk;
    const std::int8_t* from = a.codes + token * width + g * w.group_chunks() * kChunk;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t tile = 0; tile < shape.count; ++tile) {
      multiply_tiles(from, width, tokens > kTileRows, tiles + tile * kBlockPanels, panels == 2);
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
    const bool is_wide = w.bits == 8 && (w.zeros != nullptr || w.zero != 128);
    for (std::size_t p = 0; is_wide && p < panels; ++p) take_zeros(p, g, parameter + p * groups * kPanelRows);
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

  TERSOR_FORCED void add_scaled(Row& row, __m512 of_weight, __m512 of_token) {
    const __m512 exact = _mm512_cvtepi32_ps(_mm512_load_si512(row.sums));
    const __m512 unit = _mm512_mul_ps(of_weight, of_token);
    _mm512_store_ps(row.totals, _mm512_fmadd_ps(exact, unit, _mm512_load_ps(row.totals)));
  }

  // Codes of 8 bits were shifted by 128, whatever their zeros are.
  void take_zeros(std::size_t p, std::size_t g, std::size_t parameter) {
    const __m512i zeros = w.zeros == nullptr ? _mm512_set1_epi32(w.zero) : zeros_at(w, parameter);
    const __m512i missing = _mm512_sub_epi32(_mm512_set1_epi32(128), zeros);
    for (std::size_t t = 0; t < tokens; ++t) {
      const __m512i codes = _mm512_set1_epi32(a.sums[(token + t) * w.groups() + g]);
      const __m512i sum = _mm512_load_si512(rows[p][t].sums);
      _mm512_store_si512(rows[p][t].sums, _mm512_add_epi32(sum, _mm512_mullo_epi32(missing, codes)));
    }
  }
};

template <unsigned kBits>
static void tiled_linear(const PackedWeights& w, const QuantizedTokens& a, const Output& out,
                         std::size_t first, std::size_t last, GroupTiles whole, GroupTiles last_shape) {
  const std::size_t groups = w.groups();
  const std::size_t most = whole.count > last_shape.count ? whole.count : last_shape.count;
  const std::size_t together = kMostTiles / most;
  UnpackedWeights unpacked;
  for (std::size_t panel = first; panel < last; panel += panels_together(panel, last)) {
    const std::size_t panels = panels_together(panel, last);
    for (unpacked.first = 0; unpacked.first < groups; unpacked.first = unpacked.last) {
      unpacked.last = unpacked.first + together < groups ? unpacked.first + together : groups;
      for (std::size_t g = unpacked.first; g < unpacked.last; ++g) {
        unpack_group<kBits>(w, panel, panels, g, g + 1 < groups ? whole : last_shape,
                            unpacked.tiles + (g - unpacked.first) * whole.count * kBlockPanels);
      }
      const Output to = {out.y, out.stride, out.add || unpacked.first > 0};
      for (std::size_t token = 0; token < a.tokens; token += 2 * kTileRows) {
        const std::size_t left = a.tokens - token;
        const std::size_t count = left < 2 * kTileRows ? left : 2 * kTileRows;
        TiledProducts{w, a, unpacked, panel, panels, token, count, {}}.run(to, whole, last_shape);
      }
    }
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
