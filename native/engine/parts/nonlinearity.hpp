// What stands between the two linears of a feed-forward without a gate.
#pragma once

#include "kernels/kernels.hpp"

namespace tersor {

struct Nonlinearity {
  enum class Kind { silu, gelu_tanh, gelu, relu, relu_squared, xielu };

  Kind kind;
  // Of xielu: a and b above 0; a, b below, and where exponents end.
  float above[2] = {}, below[2] = {}, end = 0.0f;

  void apply(const Kernels& kernels, float* x, std::size_t size) const;
};

}  // namespace tersor
