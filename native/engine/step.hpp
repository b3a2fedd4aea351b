// One thread's way through a step of a decoder.
#pragma once

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

class Step {
 public:
  Step(Decoder& decoder, const std::vector<Token>& tokens, const std::vector<std::size_t>& wanted,
       float* logits, std::size_t part, std::size_t parts, Barrier& barrier)
      : all_(decoder),
        model_(decoder.model_),
        kernels_(decoder.kernels_),
        tokens_(&tokens),
        wanted_(&wanted),
        logits_(logits),
        part_(part),
        parts_(parts),
        barrier_(barrier),
        own_(decoder.own_[part]) {
    own_.rows.clear();
    if (parts > 1 && tokens.size() >= kOwnTokens * parts) part_ways();
  }

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

  struct Range {
    std::size_t first, last;
  };

  Range share(std::size_t count) const {
    return {count * part_ / parts_, count * (part_ + 1) / parts_};
  }

  Range share_panels(std::size_t panels) const {
    const PanelShare mine(panels, parts_, part_);
    return {mine.first, mine.last};
  }

  // Goes on with tokens of its own, as if alone; and with all of them, together with the other threads.
  void part_ways();
  void rejoin();
  void wait() {
    if (parts_ > 1) barrier_.wait();
  }

  const std::vector<Token>& tokens() const { return *tokens_; }
  // Rows of a buffer that belong to those tokens, and the row of one of all tokens.
  template <typename T>
  T* rows_of(AlignedVector<T>& buffer, std::size_t stride) const {
    return buffer.data() + first_ * stride;
  }
  std::size_t row_of(std::size_t index) const { return own_.rows.empty() ? index : own_.rows[index]; }

  bool is_few() const { return tokens().size() < kFewTokens; }

  void embed();
  void layer(std::size_t index);
  void keep_wanted();
  void keep_rows(AlignedVector<float>& buffer, std::size_t stride) const;
  void attend(const Layer& layer, std::size_t index);
  void attend_few(const Layer& layer, std::size_t index);
  void attend_many(const Layer& layer, std::size_t index);
  AttentionRow attention_row(const Layer& layer, std::size_t token, std::size_t head);
  void attend_rows(const KeysValues& held, AttentionRow* rows, std::size_t count);
  void rotate_and_store(const Layer& layer, std::size_t index);
  void project(const Site& site, const Entered& entered, const float* output_norm, const Linear& next);
  Entered gated_mlp(const Layer& layer);
  Entered multiply_gated(const Layer& layer, const Entered& entered);
  Entered gate_in_groups(const Layer& layer, const Entered& entered);
  void predict();

  // Has the first of what this thread will read of a linear brought near.
  void anticipate(const Linear& linear) const;
  Entered enter(const Site& site, const Entering& x);
  // Where a token's codes for some weights are.
  TokenCodes codes_of(Decoder::Codes& codes, const PackedWeights& weights, std::size_t token) const;
  void enter_rows(const Site& site, const Entering& x, Decoder::Work& work, Range rows);
  void multiply(const Linear& linear, std::size_t form, const Entered& entered, const Output& out,
                Range panels);

  Decoder& all_;
  const Model& model_;
  const Kernels& kernels_;
  // Those of `own_` while not all tokens are gone on with.
  const std::vector<Token>* tokens_;
  const std::vector<std::size_t>* wanted_;
  float* logits_;
  // Which of how many share the work on the tokens, and the first of their rows.
  std::size_t part_, parts_, first_ = 0;
  // While threads have tokens of their own: all tokens, and what the two were before.
  const std::vector<Token>* all_tokens_ = nullptr;
  std::size_t common_part_ = 0, common_parts_ = 1;
  Barrier& barrier_;
  Decoder::Work& own_;
};

}  // namespace tersor
