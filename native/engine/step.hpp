// One thread's way through a step of a decoder.
#pragma once

#include <span>

#include "threads/barrier.hpp"
#include "engine/decoder.hpp"

namespace tersor {

// So few tokens are normed and quantized by every thread for itself.
constexpr std::size_t kFewTokens = 8;
// With so many for every thread, each takes tokens of its own through all linears, and what it writes stays in its
// caches; only keys and values are for others. They are dealt out in turns of some, because later ones see more.
constexpr std::size_t kOwnTokens = 64, kTurnTokens = 32;

// body(part, parts, barrier) on several threads at once; on one if the pool is busy.
template <typename Body>
void in_step(std::size_t threads, Body& body) {
  Barrier barrier(threads);
  auto together = [&](std::size_t part) {
    try {
      body(part, threads, barrier);
    } catch (const Barrier::Left&) {
      // Whoever left throws what made it leave.
    } catch (...) {
      barrier.leave();
      throw;
    }
  };
  if (threads > 1 && try_parts(threads, together)) return;
  Barrier alone(1);
  body(0, 1, alone);
}

struct Range {
  std::size_t first, last;
};

// Who works together on which tokens, and where those lie.
struct Crew {
  std::span<const Token> tokens;
  // This thread among those that share the work on the tokens.
  std::size_t part, parts;
  // The row of the first token in buffers of all tokens; the others follow.
  std::size_t first_row;

  bool is_few() const { return tokens.size() < kFewTokens; }
  Range share(std::size_t count) const { return {count * part / parts, count * (part + 1) / parts}; }
  Range share_panels(std::size_t panels) const {
    const PanelShare mine(panels, parts, part);
    return {mine.first, mine.last};
  }
  // Rows of a buffer that belong to the tokens.
  template <typename T>
  T* rows_of(AlignedVector<T>& buffer, std::size_t stride) const {
    return buffer.data() + first_row * stride;
  }
};

class Step {
 public:
  Step(Decoder& decoder, const std::vector<Token>& tokens, const std::vector<std::size_t>& wanted,
       float* logits, std::size_t part, std::size_t parts, Barrier& barrier)
      : all_(decoder),
        model_(decoder.model_),
        kernels_(decoder.kernels_),
        everyone_{tokens, part, parts, 0},
        wanted_(wanted),
        logits_(logits),
        barrier_(barrier),
        own_(decoder.own_[part]) {}

  void run();

 private:
  // Rows for the linears of a site, to be gated (the gate before what it opens for) or normed first.
  struct Entering {
    float* rows;
    std::size_t stride, tokens;
    const float* norm;
    bool gated;
  };

  // Activations on their way into the linears of a site.
  struct Entered {
    const float* x;
    std::size_t stride, tokens;
    std::vector<Decoder::Codes>* codes;
  };

  // A crew of this thread alone, with its share of the tokens, which lie where own_.rows says; nobody waits for it.
  Crew alone() const;
  void wait(const Crew& crew) {
    if (crew.parts > 1) barrier_.wait();
  }

  void embed(const Crew& crew);
  // Keys and values of a layer's tokens to the cache, and their queries to `attention_`.
  void remember(const Crew& crew, const Layer& layer, std::size_t index);
  // The rest of a layer; `next` is the linear that comes after it.
  void transform(const Crew& crew, const Layer& layer, std::size_t index, const Linear& next);
  Crew keep_wanted(std::vector<std::size_t>& wanted_rows) const;
  void keep_rows(AlignedVector<float>& buffer, std::size_t stride, const std::vector<std::size_t>& rows) const;
  void attend(const Crew& crew, const Layer& layer, std::size_t index);
  void attend_few(const Crew& crew, const Layer& layer, std::size_t index);
  void attend_many(const Crew& crew, const Layer& layer, std::size_t index);
  AttentionRow attention_row(const Crew& crew, const Layer& layer, std::size_t token, std::size_t head);
  void attend_rows(const KeysValues& held, AttentionRow* rows, std::size_t count);
  void rotate_and_store(const Crew& crew, const Layer& layer, std::size_t index);
  void project(const Crew& crew, const Site& site, const Entered& entered, const float* output_norm,
               const Linear& next);
  Entered gated_mlp(const Crew& crew, const Layer& layer);
  Entered multiply_gated(const Crew& crew, const Layer& layer, const Entered& entered);
  Entered gate_in_groups(const Crew& crew, const Layer& layer, const Entered& entered);
  void predict(const std::vector<std::size_t>& wanted_rows);

  // Has the first of what this thread will read of a linear brought near.
  void anticipate(const Crew& crew, const Linear& linear) const;
  Entered enter(const Crew& crew, const Site& site, const Entering& x);
  // Where a token's codes for some weights are.
  TokenCodes codes_of(const Crew& crew, Decoder::Codes& codes, const PackedWeights& weights, std::size_t token) const;
  void enter_rows(const Crew& crew, const Site& site, const Entering& x, Decoder::Work& work, Range rows);
  void multiply(const Crew& crew, const Linear& linear, std::size_t form, const Entered& entered, const Output& out,
                Range panels);
  // What the minima of groups add, for activations in float32 and for quantized ones.
  void add_minima(const Linear& linear, const Entered& entered, const Output& out, Range panels);
  void add_minima(const Linear& linear, const QuantizedTokens& tokens, const Output& out, Range panels);

  Decoder& all_;
  const Model& model_;
  const Kernels& kernels_;
  // All threads of the step, with all tokens.
  const Crew everyone_;
  const std::vector<std::size_t>& wanted_;
  float* const logits_;
  Barrier& barrier_;
  Decoder::Work& own_;
};

}  // namespace tersor
