// Linears with integer weights and integer activations, for any number of tokens.
//
// y[t, n] = sum over groups g of s_w[n, g] * s_a[t, g] * sum over k in g of (q[n, k] - z[n, g]) * a[t, k]
//
// with unsigned weight codes q, zero points z and signed activation codes a. The inner sum is an exact
// int32; only what is multiplied by scales is rounded, in float32, group after group in order. So the
// levels of instruction sets differ in nothing but the rounding of that last step.
#pragma once

#include "kernels/codes.hpp"
#include "kernels/group_parameters.hpp"

namespace tersor {

// A bundle: panels whose chunks take turns in memory, so that multiplying them together reads one stream.
constexpr std::size_t kBundlePanels = 2;
// Tokens that share the unpacking of a weight.
constexpr std::size_t kMostTokens = 8;

TERSOR_INLINE constexpr std::size_t chunks_of(std::size_t columns) {
  return (columns + kChunk - 1) / kChunk;
}

struct PackedWeights {
  const std::uint8_t* codes;  // (bundles, chunks, panels of the bundle, chunk_bytes)
  GroupParameters scales;
  const std::uint8_t* zeros;  // (panels, groups, kPanelRows), or null: `zero` everywhere
  std::int32_t zero;
  std::size_t rows, columns, group;
  unsigned bits;  // 2, 3, 4, 5, 6 or 8

  TERSOR_INLINE std::size_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  TERSOR_INLINE std::size_t groups() const { return (columns + group - 1) / group; }
  TERSOR_INLINE std::size_t group_chunks() const { return chunks_of(group); }
  // Chunks of all groups but the last are those of a whole group.
  TERSOR_INLINE std::size_t chunks() const {
    return (groups() - 1) * group_chunks() + chunks_of(columns - (groups() - 1) * group);
  }
  // Where a panel's first chunk is, in bytes, and how far from one of its chunks to the next.
  TERSOR_INLINE std::size_t first_chunk(std::size_t panel) const {
    const std::size_t within = panel % kBundlePanels;
    return ((panel - within) * chunks() + within) * chunk_bytes(bits);
  }
  TERSOR_INLINE std::size_t chunk_step(std::size_t panel) const {
    const std::size_t left = panels() - panel / kBundlePanels * kBundlePanels;
    return (left < kBundlePanels ? left : kBundlePanels) * chunk_bytes(bits);
  }
  // The panels first..last alone: whole bundles, or up to the end.
  TERSOR_INLINE PackedWeights part(std::size_t first, std::size_t last) const {
    PackedWeights some = *this;
    const std::size_t parameter = first * groups() * kPanelRows;
    some.codes += first_chunk(first);
    some.scales = scales.from(parameter);
    if (zeros != nullptr) some.zeros += parameter;
    some.rows = (last < panels() ? last * kPanelRows : rows) - first * kPanelRows;
    return some;
  }
};

// Tokens quantized for weights with the same groups.
struct QuantizedTokens {
  const std::int8_t* codes;  // (tokens, chunks * kChunk)
  const float* scales;       // (tokens, groups)
  const std::int32_t* sums;  // (tokens, groups): of the codes of a group
  std::size_t tokens;
};

// How activations become codes where it was fixed beforehand: clip(round(x / scale) + zero), from `lowest` to
// 127. What that zero adds to a product is for the caller to take away. With a scale of 0, scales are found.
struct FixedInput {
  float scale = 0.0f;
  std::int32_t zero = 0, lowest = -127;
};

// Tokens on their way to being quantized; all pointers as above.
struct TokenCodes {
  std::int8_t* codes;
  float* scales;
  std::int32_t* sums;
};

// Where products (tokens, rows) go: rows `stride` apart, replacing what is there or added to it.
struct Output {
  float* y;
  std::size_t stride;
  bool add;

  TERSOR_INLINE float* row(std::size_t token) const { return y + token * stride; }
  TERSOR_INLINE Output from(std::size_t token) const { return {row(token), stride, add}; }
};

// How many panels from `panel` on lie in its bundle and before `last`.
TERSOR_INLINE constexpr std::size_t panels_together(std::size_t panel, std::size_t last) {
  const std::size_t left = kBundlePanels - panel % kBundlePanels;
  return panel + left < last ? left : last - panel;
}

// The i-th of `parts` shares of some panels: whole bundles.
struct PanelShare {
  std::size_t first, last;
  TERSOR_INLINE PanelShare(std::size_t panels, std::size_t parts, std::size_t i)
      : first(start(panels, parts, i)), last(start(panels, parts, i + 1)) {}

 private:
  TERSOR_INLINE static std::size_t start(std::size_t panels, std::size_t parts, std::size_t i) {
    const std::size_t bundles = (panels + kBundlePanels - 1) / kBundlePanels;
    const std::size_t panel = bundles * i / parts * kBundlePanels;
    return panel < panels ? panel : panels;
  }
};

// Packs rows first..last of codes (rows, columns), of `bits` bits each, for `group` columns to a group, into
// bytes that were 0. Rows of different panels can be packed at the same time.
void pack_panels(const std::uint8_t* codes, std::size_t rows, std::size_t columns, std::size_t group,
                 unsigned bits, std::uint8_t* packed, std::size_t first, std::size_t last);

}  // namespace tersor
