// A linear as the engine runs it: pointers into memory that somebody else keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/kernels.hpp"

namespace tersor {

// A linear: weights in one form, and perhaps a bias of `rows` floats.
struct Linear {
  bool integer = false;       // activations become int8
  FixedInput input = {};      // how, if that is fixed
  PackedWeights packed = {};  // of integer linears, and of those whose codes are decoded
  const float* wide = nullptr;
  const std::uint16_t* narrow = nullptr;
  const float* values = nullptr;
  GroupParameters minima = {};  // added to all packed weights of a group
  const float* bias = nullptr;
  std::size_t rows = 0, columns = 0;

  std::size_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  FloatWeights floats() const {
    const bool decoded = wide == nullptr && narrow == nullptr;
    return {wide, narrow, decoded ? &packed : nullptr, values, rows, columns};
  }
  // What minima add to products: a linear of its own, of the sums of a token's groups.
  FloatWeights minima_of_groups() const { return {nullptr, nullptr, nullptr, nullptr, rows, packed.groups(), &minima}; }
  // Of an integer linear: the panels first..last alone, whole bundles.
  Linear part(std::size_t first, std::size_t last) const {
    Linear some = *this;
    some.packed = packed.part(first, last);
    some.rows = some.packed.rows;
    some.minima = minima.from(first * packed.groups() * kPanelRows);
    if (bias != nullptr) some.bias += first * kPanelRows;
    return some;
  }
};

// Whether both quantize activations in the same way, or not at all.
inline bool takes_same(const Linear& a, const Linear& b) {
  if (!a.integer || !b.integer) return a.integer == b.integer;
  return a.packed.group == b.packed.group && a.input.scale == b.input.scale && a.input.zero == b.input.zero &&
         a.input.lowest == b.input.lowest;
}

// Linears that share an input. Their outputs lie one after the other.
struct Site {
  std::vector<Linear> linears;
  std::size_t columns() const { return linears[0].columns; }
  // Index of the first linear whose activations are quantized as this one's are.
  std::size_t form_of(std::size_t index) const {
    std::size_t form = 0;
    while (!takes_same(linears[form], linears[index])) ++form;
    return form;
  }
};

}  // namespace tersor
