// Attention of grouped queries to keys and values.
#pragma once

#include "engine/mixers/mixer.hpp"

namespace tersor {

// Cosines and sines (positions, half).
struct Rope {
  const float* cosines = nullptr;
  const float* sines = nullptr;
  std::size_t positions = 0, half = 0;
};

class Attention final : public Mixer {
 public:
  struct Shape {
    std::size_t heads, key_heads, size;
    // 0 sees all positions.
    std::size_t window;
    float query_scale, cap;

    std::size_t width() const { return (heads + 2 * key_heads) * size; }
  };

  // Queries of all heads, then keys, then values are what `input` makes. Without cosines nothing turns.
  Attention(const Shape& shape, Site input, Site output, Norm query_norm, Norm key_norm, const Rope& rope)
      : shape_(shape),
        input_(std::move(input)),
        output_(std::move(output)),
        query_norm_(query_norm),
        key_norm_(key_norm),
        rope_(rope) {}

  const Linear& first() const override { return input_.linears[0]; }
  void declare(Needs& needs) const override;
  Keeping keeping(std::size_t context, std::size_t together) const override;
  std::size_t window() const override { return shape_.window; }
  void remember(Pass& pass, const Norm& norm) const override;
  void find(Pass& pass, const Joining& joining, const Linear& next) const override;

 private:
  void rotate_and_store(Pass& pass) const;
  void attend_few(Pass& pass) const;
  void attend_many(Pass& pass) const;
  AttentionRow row(Pass& pass, std::size_t token, std::size_t head) const;
  void attend_rows(Pass& pass, const KeysValues& held, AttentionRow* rows, std::size_t count) const;

  Shape shape_;
  Site input_, output_;
  Norm query_norm_, key_norm_;
  Rope rope_;
};

}  // namespace tersor
