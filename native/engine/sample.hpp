// Choosing the next token from its logits.
#pragma once

#include <cstddef>

namespace tersor {

// top_k of 0, top_p of 1 and min_p of 0 leave all tokens in.
struct Sampling {
  float temperature;
  std::size_t top_k;
  float top_p, min_p;
};

// The token with the largest logit, the first of several.
std::size_t largest(const float* logits, std::size_t size);

// A token drawn with the probabilities softmax(logits / temperature), restricted to the top_k likeliest,
// then to the fewest that hold top_p of what is left, then to those at least min_p times as likely as the
// likeliest. `uniform` in [0, 1) decides.
std::size_t sample(const float* logits, std::size_t size, const Sampling& sampling, double uniform);

}  // namespace tersor
