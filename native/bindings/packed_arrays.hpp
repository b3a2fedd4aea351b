// Packed weights in arrays that Python owns.
#pragma once

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <bit>
#include <cstdint>
#include <optional>
#include <utility>

#include "bindings/arrays.hpp"
#include "kernels/packed_weights.hpp"

namespace tersor {

// A packed weight of that shape, which lies nowhere yet.
inline PackedWeights packed_shape(std::size_t rows, std::size_t columns, std::size_t group, unsigned bits) {
  check(rows > 0 && columns > 0, "a weight has rows and columns");
  check(group > 0 && group <= columns, "a group has at least one column and at most all");
  check(is_packed_width(bits), "bits must be 2, 3, 4, 5, 6 or 8");
  return {nullptr, {}, nullptr, 0, rows, columns, group, bits};
}

inline std::size_t packed_bytes(const PackedWeights& shape) {
  return shape.panels() * shape.chunks() * chunk_bytes(shape.bits);
}

// Numbers of groups in arrays: (panels, groups, 16) of float32, float16, or bfloat16 (as uint16); or float16 numbers of
// super-blocks and the steps (panels, groups, 16) of their groups.
using Numbers = Exact<nanobind::ro, nanobind::ndim<3>, nanobind::c_contig, nanobind::device::cpu>;
using Parameters = std::pair<Numbers, std::optional<Array<const std::int8_t, 3>>>;

inline nanobind::dlpack::dtype half_type() {
  return {static_cast<std::uint8_t>(nanobind::dlpack::dtype_code::Float), 16, 1};
}

// How many bits further on the number of a group is found than its steps.
inline unsigned super_block_shift(std::size_t groups, std::size_t super_blocks) {
  check(super_blocks > 0 && groups % super_blocks == 0, "a row has whole super-blocks");
  const std::size_t together = groups / super_blocks;
  check((together & (together - 1)) == 0, "a super-block has 2, 4, 8 … groups");
  return static_cast<unsigned>(std::countr_zero(together));
}

inline GroupParameters parameters_in(const PackedWeights& weights, const Parameters& given) {
  const auto& [numbers, steps] = given;
  const auto fits = [&](const auto& array) {
    return array.shape(0) == weights.panels() && array.shape(1) == weights.groups() && array.shape(2) == kPanelRows;
  };
  GroupParameters found;
  if (steps) {
    check(fits(*steps), "steps are (panels, groups, 16)");
    check(numbers.dtype() == half_type(), "numbers of super-blocks are float16");
    check(numbers.shape(0) == weights.panels() && numbers.shape(2) == kPanelRows,
          "numbers are (panels, super-blocks, 16)");
    found.steps = steps->data();
    found.shift = super_block_shift(weights.groups(), numbers.shape(1));
  } else {
    check(fits(numbers), "parameters are (panels, groups, 16)");
  }
  if (numbers.dtype() == nanobind::dtype<float>()) {
    found.wide = static_cast<const float*>(numbers.data());
  } else if (numbers.dtype() == nanobind::dtype<std::uint16_t>()) {
    found.narrow = static_cast<const std::uint16_t*>(numbers.data());
  } else {
    check(numbers.dtype() == half_type(), "parameters are float32, float16 or uint16");
    found.half = static_cast<const std::uint16_t*>(numbers.data());
  }
  return found;
}

// The weight of that shape in these arrays.
inline PackedWeights packed_in(PackedWeights weights, const Array<const std::uint8_t, 1>& codes,
                               const Parameters& scales, const std::optional<Array<const std::uint8_t, 3>>& zeros,
                               int zero) {
  check(codes.shape(0) == packed_bytes(weights), "packed is not of a weight of this shape");
  check(!zeros || (zeros->shape(0) == weights.panels() && zeros->shape(1) == weights.groups() &&
                   zeros->shape(2) == kPanelRows),
        "zeros are (panels, groups, 16)");
  weights.codes = codes.data();
  weights.scales = parameters_in(weights, scales);
  if (zeros) weights.zeros = zeros->data();
  weights.zero = zero;
  return weights;
}

// Minima of the groups of a weight, if it has any.
inline GroupParameters minima_in(const PackedWeights& weights, const std::optional<Parameters>& minima) {
  return minima ? parameters_in(weights, *minima) : GroupParameters{};
}

}  // namespace tersor
