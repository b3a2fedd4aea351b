// What a level of instructions offers: one table of functions for each, chosen at run time.
#pragma once

#include "kernels/keys_values.hpp"
#include "kernels/float_weights.hpp"
#include "kernels/packed_weights.hpp"

namespace tersor {

enum class Activation { silu, gelu_tanh };

struct Kernels {
  const char* name;
  // Codes of x (tokens, columns), rows `stride` apart: symmetric, with a scale for every token and group, if
  // `fixed` does not say otherwise. What is not finite makes its group's scale not finite.
  void (*quantize)(const float* x, std::size_t stride, std::size_t tokens, std::size_t columns,
                   std::size_t group, const FixedInput& fixed, const TokenCodes& to);
  // Writes rows of panels first..last.
  void (*linear)(const PackedWeights& weights, const QuantizedTokens& tokens, const Output& out,
                 std::size_t first, std::size_t last);
  // The same with activations x (tokens, columns), rows `x_stride` apart, as they are.
  void (*float_linear)(const FloatWeights& weights, const float* x, std::size_t x_stride,
                       std::size_t tokens, const Output& out, std::size_t first, std::size_t last);
  // y = weight * x / sqrt(mean(x^2) + epsilon); y may be x.
  void (*norm)(const float* x, const float* weight, std::size_t size, float epsilon, float* y);
  void (*add)(float* to, const float* from, std::size_t size);
  // Turns the pairs (x[i], x[i + half]) by the angles whose cosines and sines are given.
  void (*rotate)(float* x, const float* cosines, const float* sines, std::size_t half);
  // gate = activation(gate) * up.
  void (*gate)(Activation activation, float* gate, const float* up, std::size_t size);
  // x = cap * tanh(x / cap).
  void (*soft_cap)(float* x, std::size_t size, float cap);
  void (*store)(const KeysValues& cache, std::size_t position, const float* key, const float* value);
  void (*attend)(const KeysValues& cache, const AttentionRow* rows, std::size_t count, float cap,
                 float* scratch);
  // The fastest products of codes that the level knows, `rounds` times over, of nothing in particular;
  // returns how many there were. Its speed is the limit of `linear`.
  std::size_t (*multiply_only)(std::size_t rounds);
};

// The levels of this build; null for one that it lacks. Whether this machine can run one is for
// dispatch.cpp to say.
const Kernels* portable_kernels();
const Kernels* avx2_kernels();
const Kernels* avx_vnni_kernels();
const Kernels* avx512vl_vnni_kernels();
const Kernels* avx512_vnni_kernels();
const Kernels* avx512_bf16_kernels();
const Kernels* amx_kernels();
const Kernels* neon_dotprod_kernels();
const Kernels* neon_i8mm_kernels();

// The best level that this machine can run, or the one called `name`; null if it has none of that name.
const Kernels* best_kernels();
const Kernels* kernels_named(const char* name);
// All levels that this machine can run, the best at 0; null after the last.
const Kernels* kernels_at(std::size_t index);

}  // namespace tersor
