// Linears with float32 activations; compiled anew for every level.
#pragma once

#include "kernels/every_set/group_numbers.hpp"
#include "kernels/float_weights.hpp"
#include "vectors/sixteen_lanes.hpp"

namespace tersor {
namespace {

struct WideColumns {
  TERSOR_INLINE static Floats at(const FloatWeights& w, std::size_t panel, std::size_t column) {
    return loaded<Floats>(w.wide + (panel * w.columns + column) * kPanelRows);
  }
};

struct NarrowColumns {
  TERSOR_INLINE static Floats at(const FloatWeights& w, std::size_t panel, std::size_t column) {
    return from_bfloat16(loaded<Halves>(w.narrow + (panel * w.columns + column) * kPanelRows));
  }
};

struct ParameterColumns {
  TERSOR_INLINE static Floats at(const FloatWeights& w, std::size_t panel, std::size_t column) {
    return numbers_at(*w.numbers, (panel * w.columns + column) * kPanelRows);
  }
};

template <std::size_t kPanels, std::size_t kTokens>
TERSOR_INLINE inline void store_panels(const Floats (&sums)[kPanels][kTokens], std::size_t rows, std::size_t panel,
                                       const Output& out) {
  for (std::size_t p = 0; p < kPanels; ++p) {
    const std::size_t first = (panel + p) * kPanelRows;
    for (std::size_t t = 0; t < kTokens; ++t) {
      float* const to = out.row(t) + first;
      const Floats before = out.add ? loaded_some(to, rows - first) : Floats{};
      put_some(to, before + sums[p][t], rows - first);
    }
  }
}

// Weights that are floats already.
template <typename Columns>
struct DirectTile {
  template <std::size_t kPanels, std::size_t kTokens>
  static void run(const FloatWeights& w, const float* x, std::size_t x_stride,
                  const Output& out, std::size_t panel) {
    Floats sums[kPanels][kTokens] = {};
    for (std::size_t k = 0; k < w.columns; ++k) {
      Floats values[kPanels];
      for (std::size_t p = 0; p < kPanels; ++p) values[p] = Columns::at(w, panel + p, k);
      for (std::size_t t = 0; t < kTokens; ++t) {
        for (std::size_t p = 0; p < kPanels; ++p) sums[p][t] += values[p] * x[t * x_stride + k];
      }
    }
    store_panels(sums, w.rows, panel, out);
  }
};

// Of the codes of a column of a chunk: two bits, four bits, and a last one.
TERSOR_INLINE inline Words column_twos(const std::uint8_t* from, std::uint32_t shift) {
  const Words eight = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  return twice<Words>(from) >> (shift + 2 * eight) & 3;
}

TERSOR_INLINE inline Words column_fours(const std::uint8_t* from, std::uint32_t shift) {
  return loaded<Words>(from) >> shift & 0x0f;
}

TERSOR_INLINE inline Words column_last(const std::uint8_t* from, std::uint32_t byte) {
  const Words eight = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  std::uint32_t bits[2];
  __builtin_memcpy(bits, from, sizeof bits);
  const Words row = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
  return TERSOR_CHOOSE(eight != 0, Words{} + bits[1], Words{} + bits[0]) >> (4 * row + byte) & 1;
}

// The codes of a column of a chunk.
template <unsigned kBits>
TERSOR_INLINE inline Words column_codes(const std::uint8_t* chunk, std::size_t column) {
  const std::uint32_t half = column / 4, byte = column % 4, shift = 8 * byte + 4 * half;
  if (kBits == 8) return loaded<Words>(chunk + 64 * half) >> (8 * byte) & 0xff;
  const Words low = kBits < 4 ? column_twos(chunk, shift) : column_fours(chunk, shift);
  if (kBits == 6) return low | column_twos(chunk + kLastTwoBits, shift) << 4;
  if (kBits % 2 == 0) return low;
  return low | column_last(chunk + last_bits(kBits, half), byte) << (kBits - 1);
}

// Codes, decoded: `code - zero`, or `values[code]` with kTable.
template <unsigned kBits, bool kTable>
struct DecodedTile {
  TERSOR_INLINE static Floats decoded(const std::uint8_t* chunk, std::size_t j, Floats table, Floats zeros) {
    const Words codes = column_codes<kBits>(chunk, j);
    const Ints index = same_bits<Ints>(codes);
    if (kTable) return looked_up(table, index);
    return floats_of(index) - zeros;
  }

  TERSOR_INLINE static Floats zeros_of(const PackedWeights& w, std::size_t parameter) {
    if (w.zeros == nullptr) return all(static_cast<float>(w.zero));
    return floats_of(loaded<UnsignedBytes>(w.zeros + parameter));
  }

  template <std::size_t kPanels, std::size_t kTokens>
  static void run(const FloatWeights& weights, const float* x, std::size_t x_stride,
                  const Output& out, std::size_t panel) {
    const PackedWeights& w = *weights.packed;
    const std::size_t groups = w.groups(), step = w.chunk_step(panel);
    const std::uint8_t* codes = w.codes + w.first_chunk(panel);
    const Floats table = kTable ? loaded<Floats>(weights.values) : Floats{};
    Floats totals[kPanels][kTokens] = {};
    for (std::size_t g = 0; g < groups; ++g) {
      Floats sums[kPanels][kTokens] = {};
      Floats zeros[kPanels];
      for (std::size_t p = 0; p < kPanels; ++p) {
        zeros[p] = zeros_of(w, ((panel + p) * groups + g) * kPanelRows);
      }
      const std::size_t last = (g + 1) * w.group < w.columns ? (g + 1) * w.group : w.columns;
      for (std::size_t k = g * w.group; k < last; k += kChunk, codes += step) {
        const std::size_t count = last - k < kChunk ? last - k : kChunk;
        for (std::size_t j = 0; j < count; ++j) {
          Floats values[kPanels];
          for (std::size_t p = 0; p < kPanels; ++p) {
            values[p] = decoded(codes + p * chunk_bytes(kBits), j, table, zeros[p]);
          }
          for (std::size_t t = 0; t < kTokens; ++t) {
            for (std::size_t p = 0; p < kPanels; ++p) {
              sums[p][t] += values[p] * x[t * x_stride + k + j];
            }
          }
        }
      }
      for (std::size_t p = 0; p < kPanels; ++p) {
        const Floats scales = numbers_at(w.scales, ((panel + p) * groups + g) * kPanelRows);
        for (std::size_t t = 0; t < kTokens; ++t) totals[p][t] += sums[p][t] * scales;
      }
    }
    store_panels(totals, w.rows, panel, out);
  }
};

// Vectors of sums that stay in registers.
constexpr std::size_t kMostSums = 4 * kSumsTogether;

template <std::size_t kTokens>
TERSOR_INLINE inline std::size_t panels_at_once(std::size_t panel, std::size_t last) {
  return 2 * kTokens <= kMostSums ? panels_together(panel, last) : 1;
}

template <typename Tile, std::size_t kTokens>
void float_tokens(const FloatWeights& w, const float* x, std::size_t x_stride,
                         const Output& out, std::size_t first, std::size_t last) {
  for (std::size_t panel = first; panel < last; panel += panels_at_once<kTokens>(panel, last)) {
    if (panels_at_once<kTokens>(panel, last) == 2) {
      Tile::template run<2, kTokens>(w, x, x_stride, out, panel);
    } else {
      Tile::template run<1, kTokens>(w, x, x_stride, out, panel);
    }
  }
}

template <typename Tile>
void float_panels(const FloatWeights& w, const float* x, std::size_t x_stride,
                         std::size_t tokens, const Output& out, std::size_t first,
                         std::size_t last) {
  // As many as stay in the second cache while all tokens pass by.
  constexpr std::size_t kTogether = 4;
  for (std::size_t panel = first; panel < last; panel += kTogether) {
    const std::size_t stop = panel + kTogether < last ? panel + kTogether : last;
    std::size_t t = 0;
    if constexpr (kMostSums >= 8) {
      for (; t + 8 <= tokens; t += 8) {
        float_tokens<Tile, 8>(w, x + t * x_stride, x_stride, out.from(t), panel, stop);
      }
    }
    for (; t + 4 <= tokens; t += 4) {
      float_tokens<Tile, 4>(w, x + t * x_stride, x_stride, out.from(t), panel, stop);
    }
    for (; t + 2 <= tokens; t += 2) {
      float_tokens<Tile, 2>(w, x + t * x_stride, x_stride, out.from(t), panel, stop);
    }
    if (t < tokens) {
      float_tokens<Tile, 1>(w, x + t * x_stride, x_stride, out.from(t), panel, stop);
    }
  }
}

void float_linear(const FloatWeights& w, const float* x, std::size_t x_stride,
                         std::size_t tokens, const Output& out, std::size_t first,
                         std::size_t last) {
  const auto run = w.wide != nullptr      ? float_panels<DirectTile<WideColumns>>
                   : w.narrow != nullptr  ? float_panels<DirectTile<NarrowColumns>>
                   : w.numbers != nullptr ? float_panels<DirectTile<ParameterColumns>>
                   : w.packed->bits == 8 ? float_panels<DecodedTile<8, false>>
                   : w.packed->bits == 6 ? float_panels<DecodedTile<6, false>>
                   : w.packed->bits == 5 ? float_panels<DecodedTile<5, false>>
                   : w.packed->bits == 3 ? float_panels<DecodedTile<3, false>>
                   : w.packed->bits == 2 ? float_panels<DecodedTile<2, false>>
                   : w.values != nullptr ? float_panels<DecodedTile<4, true>>
                                         : float_panels<DecodedTile<4, false>>;
  run(w, x, x_stride, tokens, out, first, last);
}

}  // namespace
}  // namespace tersor
