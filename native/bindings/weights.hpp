// A decoder's linears as Python hands them over.
#pragma once

#include <optional>
#include <vector>

#include "bindings/arrays.hpp"
#include "engine/parts/linear.hpp"

namespace tersor {

// A linear, and the arrays that it points into.
struct HeldLinear {
  Linear linear;
  std::vector<nanobind::object> kept;

  template <typename Given>
  auto keep(const Given& array) {
    kept.push_back(nanobind::cast(array));
    return array.data();
  }

  void set_bias(const std::optional<Array<const float, 1>>& bias) {
    if (!bias) return;
    check(bias->shape(0) == linear.rows, "a bias has one value for every row");
    linear.bias = keep(*bias);
  }
};

}  // namespace tersor

void define_weights(nanobind::module_& m);
