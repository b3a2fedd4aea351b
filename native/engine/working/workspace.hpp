// Memory of a step, made with the decoder: no thread of a step runs out of it.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/feedforwards/routing.hpp"
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

  // Of experts: how many a token goes to at most, and there are; their gate and up, what is quantized of them, logits,
  // and floats that choosing needs.
  std::size_t routed = 0, experts = 0, routed_inner = 0, routed_codes = 0, routed_groups = 0, scores = 0,
              routing_scratch = 0;

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
  std::size_t width = 0, groups = 0;
  AlignedVector<std::int8_t> codes;
  AlignedVector<float> scales;
  AlignedVector<std::int32_t> sums;

  void make(std::size_t tokens, std::size_t most_codes, std::size_t most_groups);
};

// Activations on their way into linears, of some tokens.
struct Arrivals {
  Rows normed;
  std::vector<Codes> codes;

  void make(const Needs& needs, std::size_t tokens);
};

// Gate and up of some columns, which a thread multiplies, gates and quantizes while they are near.
constexpr std::size_t kGatedColumns = 128, kGatedStride = 2 * kGatedColumns + 16;

// A token of a crew that goes to some expert, and how much that counts.
struct DealtRow {
  std::size_t token;
  float weight;
};

// What one thread has for itself.
struct OwnSpace {
  Arrivals few;
  AlignedVector<float> scratch, gated, sums;
  // Tokens that are gone on with, the rows of all tokens, and of those whose logits are wanted.
  std::vector<Token> tokens;
  std::vector<std::size_t> rows, wanted_rows;
  std::vector<AttentionRow> queries;
  // Of experts: where the rows of each begin, and where the next one goes; who they are; the input of one.
  std::vector<std::size_t> begins, next;
  std::vector<DealtRow> dealt;
  std::vector<Choice> choices;
  AlignedVector<float> routing;
  Rows gathered;
  Codes gathered_codes;

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
  // Of experts: logits, choices of many tokens, rows of tokens for each that they go to, and what one of them makes.
  std::size_t routed = 0;
  Rows scores, routed_inner, made;
  Codes routed_codes;
  std::vector<Choice> choices;
  std::vector<OwnSpace> own;

  void make(const Needs& needs, std::size_t most_tokens, std::size_t threads);
};

}  // namespace tersor
