// What happens to activations between linears; compiled anew for every level.
#pragma once

#include "kernels/kernels.hpp"
#include "vectors/sixteen_lanes.hpp"

namespace tersor {
namespace {

void norm(const float* x, const float* weight, std::size_t size, float epsilon, float* y) {
  Floats squares = {};
  for (std::size_t i = 0; i < size; i += kLanes) {
    const Floats part =
        i + kLanes <= size ? loaded<Floats>(x + i) : loaded_some(x + i, size - i);
    squares += part * part;
  }
  const float mean = sum_of(squares) / static_cast<float>(size);
  const float factor = 1.0f / __builtin_sqrtf(mean + epsilon);
  for (std::size_t i = 0; i < size; ++i) y[i] = weight[i] * (x[i] * factor);
}

void add(float* to, const float* from, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) to[i] += from[i];
}

void rotate(float* x, const float* cosines, const float* sines, std::size_t half) {
  for (std::size_t i = 0; i < half; ++i) {
    const float first = x[i], second = x[i + half];
    x[i] = first * cosines[i] - second * sines[i];
    x[i + half] = second * cosines[i] + first * sines[i];
  }
}

template <Activation kActivation>
TERSOR_INLINE inline Floats activated(Floats x) {
  if (kActivation == Activation::silu) return x * sigmoid(x);
  const Floats inner = 0.7978845608f * (x + 0.044715f * x * x * x);
  return x * sigmoid(2.0f * inner);
}

template <Activation kActivation>
void gate_by(float* gate, const float* up, std::size_t size) {
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    put(gate + i, activated<kActivation>(loaded<Floats>(gate + i)) * loaded<Floats>(up + i));
  }
  if (i < size) {
    const std::size_t left = size - i;
    const Floats last = activated<kActivation>(loaded_some(gate + i, left));
    put_some(gate + i, last * loaded_some(up + i, left), left);
  }
}

void gate_with(Activation activation, float* gate, const float* up, std::size_t size) {
  if (activation == Activation::silu) {
    gate_by<Activation::silu>(gate, up, size);
  } else {
    gate_by<Activation::gelu_tanh>(gate, up, size);
  }
}

void soft_cap(float* x, std::size_t size, float cap) {
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t left = size - i;
    put_some(x + i, cap * hyperbolic_tangent(loaded_some(x + i, left) / cap), left);
  }
}

}  // namespace
}  // namespace tersor
