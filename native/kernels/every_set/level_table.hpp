// The table of a level that has linears of its own for integers; all else is what every level has.
#pragma once

#include "kernels/every_set/attention.hpp"
#include "kernels/every_set/elementwise.hpp"
#include "kernels/every_set/float_linear.hpp"
#include "kernels/every_set/quantize.hpp"
#include "kernels/kernels.hpp"

namespace tersor {
namespace {

constexpr Kernels table_of(const char* name, decltype(Kernels::linear) own_linear,
                           decltype(Kernels::multiply_only) own_products) {
  return {.name = name,
          .quantize = quantize_tokens,
          .linear = own_linear,
          .float_linear = float_linear,
          .norm = norm,
          .add = add,
          .rotate = rotate,
          .gate = gate_with,
          .soft_cap = soft_cap,
          .store = store,
          .attend = attend,
          .multiply_only = own_products};
}

}  // namespace
}  // namespace tersor
