// The forward pass of a decoder: some tokens through all layers, several threads in step.
//
// Every thread walks through the same plan. It computes its share of the rows of every linear, or of the
// heads, and waits for the others wherever the next step reads what they wrote. A few tokens are normed and
// quantized by every thread for itself, which is sooner done than shared; of many, every thread takes its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "memory/aligned.hpp"
#include "engine/cache.hpp"
#include "engine/model.hpp"

namespace tersor {

// A token of a sequence; its keys and values go to `position` of `slot`, and it sees those up to itself.
struct Token {
  std::size_t id, slot, position;
};

class Decoder {
 public:
  // Takes at most `most_tokens` tokens at a time.
  Decoder(Model model, Cache cache, const Kernels& kernels, std::size_t threads,
          std::size_t most_tokens);

  const Model& model() const { return model_; }
  const Cache& cache() const { return cache_; }
  std::size_t most_tokens() const { return most_tokens_; }

  // Logits (wanted, vocabulary) of the tokens whose indices are `wanted`. Tokens of a slot come in the
  // order of their positions; earlier positions of it have been run. Layers with a window forget what lies far
  // enough behind the furthest position since 0: throws std::invalid_argument, with nothing done, for a token that
  // would see such. Going back by at most `most_tokens` is always possible. One call at a time: others wait.
  void run(const std::vector<Token>& tokens, const std::vector<std::size_t>& wanted, float* logits);

 private:
  friend class Step;

  // From one token's row of floats to the next: never a multiple of 1 kB, or the rows of tokens that are
  // multiplied together would fall on the same few lines of the first cache.
  static std::size_t stride_of(std::size_t width) {
    const std::size_t rounded = (width + 15) / 16 * 16;
    return rounded % 256 == 0 ? rounded + 16 : rounded;
  }

  // Codes of tokens, for one size of groups, and the most bytes and groups of a token.
  struct Codes {
    std::size_t width, groups;
    AlignedVector<std::int8_t> codes;
    AlignedVector<float> scales;
    AlignedVector<std::int32_t> sums;
  };

  // What one thread needs for itself, and, for many tokens, what all share. All of it is there before a step begins:
  // no thread of a step runs out of memory.
  struct Work {
    // `sums` are those of groups, where weights have minima.
    AlignedVector<float> normed, scratch, gated, sums;
    std::vector<Codes> codes;
    // Tokens that are gone on with, the rows of all tokens, and of those whose logits are wanted.
    std::vector<Token> tokens;
    std::vector<std::size_t> rows, wanted_rows;
    std::vector<AttentionRow> queries;
  };

  // Gate and up of some columns, which a thread multiplies, gates and quantizes while they are near.
  static constexpr std::size_t kGatedColumns = 128, kGatedStride = 2 * kGatedColumns + 16;

  void reserve(Work& work, std::size_t tokens) const;
  // Counts tokens as run, if all that they see is there.
  void reach(const std::vector<Token>& tokens);
  bool is_forgotten(std::size_t reached, std::size_t position) const;

  Model model_;
  Cache cache_;
  const Kernels& kernels_;
  std::size_t threads_, most_tokens_;
  std::size_t hidden_stride_, attention_stride_, attended_stride_, mlp_stride_;
  AlignedVector<float> hidden_, attention_, attended_, mlp_, projected_, wanted_;
  std::vector<Work> own_;
  Work shared_;
  // Of what was gated already when it was quantized.
  std::vector<Codes> gated_codes_;
  // Of every slot: how far its positions were run since the first was.
  std::vector<std::size_t> reached_;
  std::mutex running_;
};

}  // namespace tersor
