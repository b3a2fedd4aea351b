// Sums of a token's activations within groups: what the minimum of a group's weights is multiplied by.
#pragma once

#include "kernels/packed_weights.hpp"

namespace tersor {

// Of quantized tokens, into (tokens, groups).
inline void sum_groups(const QuantizedTokens& a, std::size_t groups, float* to) {
  for (std::size_t i = 0; i < a.tokens * groups; ++i) to[i] = a.scales[i] * static_cast<float>(a.sums[i]);
}

// Of x (tokens, columns), rows `stride` apart, column after column.
inline void sum_groups(const float* x, std::size_t stride, std::size_t tokens, std::size_t columns, std::size_t group,
                       float* to) {
  for (std::size_t t = 0; t < tokens; ++t, x += stride) {
    for (std::size_t first = 0; first < columns; first += group) {
      const std::size_t last = first + group < columns ? first + group : columns;
      float sum = 0.0f;
      for (std::size_t k = first; k < last; ++k) sum += x[k];
      *to++ = sum;
    }
  }
}

}  // namespace tersor
