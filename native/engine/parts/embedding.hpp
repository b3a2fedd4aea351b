// Rows of a table, one for each token of the vocabulary.
#pragma once

#include "engine/parts/linear.hpp"

namespace tersor {

struct Embedding {
  // One of: (vocabulary, hidden), the same as bfloat16, or codes.
  const float* wide = nullptr;
  const std::uint16_t* narrow = nullptr;
  Linear packed;
  std::size_t vocabulary = 0, hidden = 0;
  float scale = 1.0f;

  // The row of token `id`, scaled.
  void row(std::size_t id, float* to) const;
};

}  // namespace tersor
