// How Python says that activations are quantized in a fixed way.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <tuple>

#include "kernels/packed_weights.hpp"

namespace tersor {

// Scale, zero and lowest code, or nothing.
using Input = std::optional<std::tuple<float, int, int>>;

inline FixedInput fixed_input(const Input& given) {
  if (!given) return {};
  const auto [scale, zero, lowest] = *given;
  if (!(scale > 0.0f) || zero < -128 || zero > 127 || lowest < -128 || lowest > 0) {
    throw nanobind::value_error("a fixed input has a scale above 0 and int8 codes");
  }
  return {scale, zero, lowest};
}

}  // namespace tersor
