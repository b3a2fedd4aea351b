// A norm of rows of activations.
#pragma once

#include "kernels/kernels.hpp"

namespace tersor {

// There is none without a weight.
struct Norm {
  const float* weight = nullptr;
  float epsilon = 0.0f;

  explicit operator bool() const { return weight != nullptr; }
  // y may be x.
  void apply(const Kernels& kernels, const float* x, std::size_t size, float* y) const {
    kernels.norm(x, weight, size, epsilon, y);
  }
};

}  // namespace tersor
