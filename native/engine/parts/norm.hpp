// A norm of rows of activations.
#pragma once

#include "kernels/kernels.hpp"

namespace tersor {

enum class NormKind { none, root_mean_square, centred };

// y = weight * x / sqrt(mean(x^2) + epsilon), or with `centred` the same of x less its mean, plus `bias`. A weight that
// is null is 1, a bias 0.
struct Norm {
  NormKind kind = NormKind::none;
  const float* weight = nullptr;
  const float* bias = nullptr;
  float epsilon = 0.0f;

  explicit operator bool() const { return kind != NormKind::none; }
  // y may be x.
  void apply(const Kernels& kernels, const float* x, std::size_t size, float* y) const {
    if (kind == NormKind::root_mean_square) {
      kernels.norm(x, weight, size, epsilon, y);
    } else {
      centre(x, size, y);
    }
  }
  // The norm with weights from `index` on.
  Norm from(std::size_t index) const {
    return {kind, weight == nullptr ? nullptr : weight + index, bias == nullptr ? nullptr : bias + index, epsilon};
  }

 private:
  void centre(const float* x, std::size_t size, float* y) const;
};

}  // namespace tersor
