// A decoder, put together piece by piece.
#pragma once

#include <algorithm>

#include "bindings/decoder/blocks.hpp"
#include "engine/model.hpp"

namespace tersor {

class Builder {
 public:
  explicit Builder(std::size_t hidden) {
    check(hidden > 0, "not the shape of a decoder");
    model.embedding.hidden = hidden;
  }

  template <typename Value>
  void set_embedding(const Array<const Value, 2>& table, float scale) {
    check(table.shape(1) == model.hidden(), "an embedding is as wide as the model");
    model.embedding.vocabulary = table.shape(0);
    model.embedding.scale = scale;
    kept.push_back(nanobind::cast(table));
    if constexpr (std::is_same_v<Value, float>) {
      model.embedding.wide = table.data();
    } else {
      model.embedding.narrow = table.data();
    }
  }

  void set_packed_embedding(const HeldLinear& weights, float scale) {
    const Linear& linear = weights.linear;
    check(linear.columns == model.hidden() && linear.packed.codes != nullptr,
          "a packed embedding is as wide as the model");
    model.embedding.vocabulary = linear.rows;
    model.embedding.scale = scale;
    model.embedding.packed = linear;
    keep_all(kept, weights.kept);
  }

  void add_block(const HeldMixer& mixer, const HeldFeedForward& feedforward, const HeldNorm* mixer_norm,
                 const HeldNorm* mixer_output_norm, const HeldNorm* feedforward_norm,
                 const HeldNorm* feedforward_output_norm, float scale, bool parallel) {
    const std::size_t hidden = model.hidden();
    check(mixer.hidden == hidden && feedforward.hidden == hidden, "a part of a block is as wide as the model");
    Block block;
    block.mixer = mixer.mixer;
    block.feedforward = feedforward.feedforward;
    block.mixer_norm = norm_of(mixer_norm, hidden, kept);
    block.after_mixer.norm = norm_of(mixer_output_norm, hidden, kept);
    block.feedforward_norm = norm_of(feedforward_norm, hidden, kept);
    block.after_feedforward.norm = norm_of(feedforward_output_norm, hidden, kept);
    block.after_mixer.scale = block.after_feedforward.scale = scale;
    block.after_mixer.later = parallel;
    check(!parallel || block.after_feedforward.is_plain(), "what runs side by side is added as it is");
    model.blocks.push_back(std::move(block));
    positions = std::min(positions, mixer.positions);
    keep_all(kept, mixer.kept);
    keep_all(kept, feedforward.kept);
  }

  void set_head(const HeldNorm& norm, const HeldLinear& linear, float scale, float cap) {
    check(model.vocabulary() > 0, "the embedding comes first");
    model.head.norm = norm_of(&norm, model.hidden(), kept);
    model.head.site = site_of({&linear}, model.hidden(), model.vocabulary(), kept);
    model.head.scale = scale;
    model.head.cap = cap;
  }

  Model model;
  // How many all mixers can be used for.
  std::size_t positions = std::numeric_limits<std::size_t>::max();
  Kept kept;
};

}  // namespace tersor
