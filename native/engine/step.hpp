// One thread's way through a step of a decoder.
#pragma once

#include "barrier.hpp"
#include "decoder.hpp"

namespace tersor {

// So few tokens are normed and quantized by every thread for itself.
constexpr std::size_t kFewTokens = 8;

// body(part, parts, barrier) on several threads at once; on one if the pool is busy.
template <typename Body>
void in_step(std::size_t threads, Body& body) {
  Barrier barrier(threads);
  auto together = [&](std::size_t part) { body(part, threads, barrier); };
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
    const std::vector<Decoder::Codes>* codes;
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

  const std::vector<Token>& tokens() const { return *tokens_; }
  bool is_few() const { return tokens().size() < kFewTokens; }

  void embed();
  void layer(std::size_t index);
  void keep_wanted();
  void attend(const Layer& layer, std::size_t index);
  void attend_few(const Layer& layer, std::size_t index);
  void attend_many(const Layer& layer, std::size_t index);
  AttentionRow row_of(const Layer& layer, std::size_t token, std::size_t head) const;
  void rotate_and_store(const Layer& layer, std::size_t index);
  void project(const Site& site, const Entered& entered, const float* output_norm, const Linear& next);
  Entered gated_mlp(const Layer& layer);
  Entered multiply_gated(const Layer& layer, const Entered& entered);
  Entered gate_in_groups(const Layer& layer, const Entered& entered);
  void predict();

  // Has the first of what this thread will read of a linear brought near.
  void anticipate(const Linear& linear) const;
  Entered enter(const Site& site, const Entering& x);
  void enter_rows(const Site& site, const Entering& x, Decoder::Work& work, Range rows);
  void multiply(const Linear& linear, std::size_t form, const Entered& entered, const Output& out,
                Range panels);

  Decoder& all_;
  const Model& model_;
  const Kernels& kernels_;
  const std::vector<Token>* tokens_;
  const std::vector<std::size_t>* wanted_;
  // What those point to in the last layer, if not all tokens are wanted.
  std::vector<Token> kept_;
  std::vector<std::size_t> kept_indices_;
  float* logits_;
  std::size_t part_, parts_;
  Barrier& barrier_;
  Decoder::Work& own_;
};

}  // namespace tersor
