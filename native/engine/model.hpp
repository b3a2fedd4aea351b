// A decoder as the engine runs it: a list of blocks between an embedding and a head.
#pragma once

#include <memory>
#include <vector>

#include "engine/feedforwards/feedforward.hpp"
#include "engine/mixers/mixer.hpp"
#include "engine/parts/embedding.hpp"

namespace tersor {

// A mixer, then a feed-forward; each has a norm before it and comes into the residual stream by a rule.
struct Block {
  Norm mixer_norm, feedforward_norm;
  std::shared_ptr<const Mixer> mixer;
  std::shared_ptr<const FeedForward> feedforward;
  Joining after_mixer, after_feedforward;
};

struct Head {
  Norm norm;
  Site site;
  // Logits are scaled, then capped; 0: not capped.
  float scale = 1.0f, cap = 0.0f;
};

struct Model {
  Embedding embedding;
  std::vector<Block> blocks;
  Head head;

  std::size_t hidden() const { return embedding.hidden; }
  std::size_t vocabulary() const { return embedding.vocabulary; }
};

}  // namespace tersor
