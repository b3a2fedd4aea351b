// Attention of grouped queries to keys and values.
#pragma once

#include "engine/mixers/mixer.hpp"

namespace tersor {

// Cosines and sines (positions, half). `pairs`: neighbours turn together, not the two halves.
struct Rope {
  const float* cosines = nullptr;
  const float* sines = nullptr;
  std::size_t positions = 0, half = 0;
  bool pairs = false;
};

// A norm of queries or keys: of each head by the same weights or by its own, or of all heads at once.
struct HeadNorm {
  enum class Span { head, own, all };

  Norm norm = {};
  Span span = Span::head;
};

// Where the heads of queries, keys or values are among what linears make.
struct Heads {
  std::size_t first, step;
};

class Attention final : public Mixer {
 public:
  struct Shape {
    std::size_t heads, key_heads, size;
    // 0 sees all positions.
    std::size_t window;
    float query_scale, cap;
    // Of each head together, or first all queries, then keys, then values.
    bool is_fused = false;
    // Whether heads are normed after they turned.
    bool turns_first = false;

    std::size_t width() const { return (heads + 2 * key_heads) * size; }
    Heads queries() const { return {0, is_fused ? 3 * size : size}; }
    Heads keys() const { return {is_fused ? size : heads * size, queries().step}; }
    Heads values() const { return {is_fused ? 2 * size : (heads + key_heads) * size, queries().step}; }
  };

  // Without cosines nothing turns.
  Attention(const Shape& shape, Site input, Site output, const HeadNorm& query_norm, const HeadNorm& key_norm,
            const Rope& rope)
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
  // Norms all heads of a token at once, and does the rest of `turn`.
  void turn_all(Pass& pass, std::size_t token, bool is_query) const;
  void turn(Pass& pass, std::size_t token, bool is_query, std::size_t head) const;
  void rotate(const Kernels& kernels, float* x, std::size_t position) const;
  void attend_few(Pass& pass) const;
  void attend_many(Pass& pass) const;
  AttentionRow row(Pass& pass, std::size_t token, std::size_t head) const;
  void attend_rows(Pass& pass, const KeysValues& held, AttentionRow* rows, std::size_t count) const;

  Shape shape_;
  Site input_, output_;
  HeadNorm query_norm_, key_norm_;
  Rope rope_;
};

}  // namespace tersor
