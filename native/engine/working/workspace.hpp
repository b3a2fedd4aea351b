// Memory of a step, made with the decoder: no thread of a step runs out of it.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/parts/linear.hpp"
#include "engine/working/team.hpp"
#include "memory/aligned.hpp"

namespace tersor {

// What the widest of all parts of a decoder needs, in elements of a token where nothing else is said.
struct Needs {
  std::size_t hidden = 0;
  // What linears of a mixer and of a feed-forward make first, and what a mixer finds.
  std::size_t mixed = 0, inner = 0, found = 0;
  // Linears that share an input; codes and groups of the widest, and groups where those have minima.
  std::size_t forms = 0, codes = 0, groups = 0, summed_groups = 0;
  // Floats that attention needs, and rows of queries that a thread attends with at once.
  std::size_t scratch = 0, queries = 0;

  void site(const Site& site);
  static void grow(std::size_t& need, std::size_t size) { need = std::max(need, size); }
};

// Rows of floats, one for every token.
struct Rows {
  AlignedVector<float> values;
  std::size_t stride = 0;

  void make(std::size_t tokens, std::size_t width);
  float* row(std::size_t index) { return values.data() + index * stride; }

  // From one token's row to the next: never a multiple of 1 kB, or the rows of tokens that are multiplied together
  // would fall on the same few lines of the first cache.
  static std::size_t stride_of(std::size_t width) {
    const std::size_t rounded = (width + 15) / 16 * 16;
    return rounded % 256 == 0 ? rounded + 16 : rounded;
  }
};

// Codes of tokens, for one size of groups, and the most bytes and groups of a token.
struct Codes {
  std::size_t width, groups;
  AlignedVector<std::int8_t> codes;
  AlignedVector<float> scales;
  AlignedVector<std::int32_t> sums;
};

// Activations on their way into linears, of some tokens.
struct Arrivals {
  Rows normed;
  std::vector<Codes> codes;

  void make(const Needs& needs, std::size_t tokens);
};

// Gate and up of some columns, which a thread multiplies, gates and quantizes while they are near.
constexpr std::size_t kGatedColumns = 128, kGatedStride = 2 * kGatedColumns + 16;

// What one thread has for itself.
struct OwnSpace {
  Arrivals few;
  AlignedVector<float> scratch, gated, sums;
  // Tokens that are gone on with, the rows of all tokens, and of those whose logits are wanted.
  std::vector<Token> tokens;
  std::vector<std::size_t> rows, wanted_rows;
  std::vector<AttentionRow> queries;

  void make(const Needs& needs, std::size_t most_tokens);
};

// What all threads share: rows of all tokens.
struct Workspace {
  std::size_t hidden_size = 0;
  // The residual stream, and the rows of it that become logits.
  Rows hidden, wanted;
  Rows mixed, found, inner;
  // What is normed or scaled before it is added to the residual stream.
  Rows projected;
  Arrivals many;
  // Of what was gated already when it was quantized.
  Codes gated_codes;
  std::vector<OwnSpace> own;

  void make(const Needs& needs, std::size_t most_tokens, std::size_t threads);
};

}  // namespace tersor
