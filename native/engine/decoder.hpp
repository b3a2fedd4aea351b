// The forward pass of a decoder: some tokens through all blocks, several threads in step.
//
// Every thread walks through the same plan. It computes its share of the rows of every linear, or of the
// heads, and waits for the others wherever the next step reads what they wrote. A few tokens are normed and
// quantized by every thread for itself, which is sooner done than shared; of many, every thread takes its own.
#pragma once

#include <mutex>

#include "engine/model.hpp"

namespace tersor {

class Decoder {
 public:
  // Takes at most `most_tokens` tokens at a time, of `slots` sequences of up to `context` positions.
  Decoder(Model model, std::size_t slots, std::size_t context, Storage storage, const Kernels& kernels,
          std::size_t threads, std::size_t most_tokens);

  const Model& model() const { return model_; }
  const Cache& cache() const { return cache_; }
  std::size_t most_tokens() const { return most_tokens_; }

  // Logits (wanted, vocabulary) of the tokens whose indices are `wanted`. Tokens of a slot come in the
  // order of their positions; earlier positions of it have been run. Layers with a window forget what lies far
  // enough behind the furthest position since 0: throws std::invalid_argument, with nothing done, for a token that
  // would see such. Going back by at most `most_tokens` is always possible. One call at a time: others wait.
  void run(const std::vector<Token>& tokens, const std::vector<std::size_t>& wanted, float* logits);

 private:
  // Counts tokens as run, if all that they see is there.
  void reach(const std::vector<Token>& tokens);
  bool is_forgotten(std::size_t reached, std::size_t position) const;

  Model model_;
  Cache cache_;
  const Kernels& kernels_;
  std::size_t threads_, most_tokens_;
  Workspace space_;
  // Of every slot: how far its positions were run since the first was.
  std::vector<std::size_t> reached_;
  std::mutex running_;
};

}  // namespace tersor
