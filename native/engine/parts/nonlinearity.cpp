#include "engine/parts/nonlinearity.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace tersor {
namespace {

constexpr std::size_t kPiece = 256;

constexpr std::array<float, kPiece> ones() {
  std::array<float, kPiece> all{};
  for (float& one : all) one = 1.0f;
  return all;
}
constexpr std::array<float, kPiece> kOnes = ones();

// As the gate of nothing but ones.
void as_gate(const Kernels& kernels, Activation activation, float* x, std::size_t size) {
  for (std::size_t i = 0; i < size; i += kPiece) {
    kernels.gate(activation, x + i, kOnes.data(), std::min(kPiece, size - i));
  }
}

template <typename Function>
void each(float* x, std::size_t size, const Function& function) {
  for (std::size_t i = 0; i < size; ++i) x[i] = function(x[i]);
}

}  // namespace

void Nonlinearity::apply(const Kernels& kernels, float* x, std::size_t size) const {
  switch (kind) {
    case Kind::silu:
      return as_gate(kernels, Activation::silu, x, size);
    case Kind::gelu_tanh:
      return as_gate(kernels, Activation::gelu_tanh, x, size);
    case Kind::gelu:
      return each(x, size, [](float v) { return 0.5f * v * (1.0f + std::erf(v * 0.70710678f)); });
    case Kind::relu:
      return each(x, size, [](float v) { return v < 0.0f ? 0.0f : v; });
    case Kind::relu_squared:
      return each(x, size, [](float v) { return v < 0.0f ? 0.0f : v * v; });
    case Kind::xielu:
      // https://arxiv.org/abs/2411.13010
      return each(x, size, [this](float v) {
        if (v > 0.0f) return above[0] * v * v + above[1] * v;
        return (std::expm1(std::min(v, end)) - v) * below[0] + below[1] * v;
      });
  }
}

}  // namespace tersor
