// Packed weights in arrays that Python owns.
#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>

#include "bindings/arrays.hpp"
#include "kernels/packed_weights.hpp"

namespace tersor {

// A packed weight of that shape, which lies nowhere yet.
inline PackedWeights packed_shape(std::size_t rows, std::size_t columns, std::size_t group, unsigned bits) {
  check(rows > 0 && columns > 0, "a weight has rows and columns");
  check(group > 0 && group <= columns, "a group has at least one column and at most all");
  check(is_packed_width(bits), "bits must be 2, 3, 4 or 8");
  return {nullptr, nullptr, nullptr, nullptr, 0, rows, columns, group, bits};
}

inline std::size_t packed_bytes(const PackedWeights& shape) {
  return shape.panels() * shape.chunks() * chunk_bytes(shape.bits);
}

// The weight of that shape in these arrays; scales are bfloat16 (as uint16) or float.
template <typename Scale>
PackedWeights packed_in(PackedWeights weights, const Array<const std::uint8_t, 1>& codes,
                        const Array<const Scale, 3>& scales,
                        const std::optional<Array<const std::uint8_t, 3>>& zeros, int zero) {
  check(codes.shape(0) == packed_bytes(weights), "packed is not of a weight of this shape");
  const auto fits = [&](const auto& array) {
    return array.shape(0) == weights.panels() && array.shape(1) == weights.groups() &&
           array.shape(2) == kPanelRows;
  };
  check(fits(scales) && (!zeros || fits(*zeros)), "parameters are (panels, groups, 16)");
  weights.codes = codes.data();
  if constexpr (std::is_same_v<Scale, float>) {
    weights.wide_scales = scales.data();
  } else {
    weights.scales = scales.data();
  }
  if (zeros) weights.zeros = zeros->data();
  weights.zero = zero;
  return weights;
}

// Minima of the groups of a weight, if it has any.
inline const float* minima_of(const PackedWeights& weights, const std::optional<Array<const float, 3>>& minima) {
  if (!minima) return nullptr;
  check(minima->shape(0) == weights.panels() && minima->shape(1) == weights.groups() &&
            minima->shape(2) == kPanelRows,
        "minima are (panels, groups, 16)");
  return minima->data();
}

}  // namespace tersor
