// Python bindings of a decoder's linears.
#include "bindings/weights.hpp"

#include <nanobind/stl/optional.h>

#include "bindings/fixed_input.hpp"
#include "bindings/packed_arrays.hpp"

namespace nb = nanobind;

namespace {

using namespace tersor;

using Floats = std::optional<Array<const float, 1>>;

void keep(HeldLinear& made, const Parameters& parameters) {
  made.keep(parameters.first);
  if (parameters.second) made.keep(*parameters.second);
}

HeldLinear packed_weights(const Array<const std::uint8_t, 1>& codes, const Parameters& scales,
                          const std::optional<Array<const std::uint8_t, 3>>& zeros, int zero, std::size_t rows,
                          std::size_t columns, std::size_t group, unsigned bits, bool integer, const Input& input,
                          const Floats& levels, const Floats& bias, const std::optional<Parameters>& minima) {
  check(!levels || (levels->shape(0) == 16 && bits == 4 && !integer),
        "a codebook has 16 levels and needs float activations");
  HeldLinear made;
  Linear& linear = made.linear;
  linear.rows = rows;
  linear.columns = columns;
  linear.integer = integer;
  linear.input = fixed_input(input);
  linear.packed = packed_in(packed_shape(rows, columns, group, bits), codes, scales, zeros, zero);
  made.keep(codes);
  keep(made, scales);
  if (zeros) made.keep(*zeros);
  if (levels) linear.values = made.keep(*levels);
  linear.minima = minima_in(linear.packed, minima);
  if (minima) keep(made, *minima);
  made.set_bias(bias);
  return made;
}

template <typename Value>
HeldLinear dense_weights(Array<const Value, 3> panels, std::size_t rows, const Floats& bias) {
  HeldLinear made;
  Linear& linear = made.linear;
  linear.rows = rows;
  linear.columns = panels.shape(1);
  check(rows > 0 && panels.shape(0) == linear.panels() && panels.shape(2) == kPanelRows,
        "dense weights are (panels, columns, 16)");
  if constexpr (std::is_same_v<Value, float>) {
    linear.wide = made.keep(panels);
  } else {
    linear.narrow = made.keep(panels);
  }
  made.set_bias(bias);
  return made;
}

void define_packed(nb::class_<HeldLinear>& linear_class) {
  linear_class.def_static("packed", &packed_weights, nb::kw_only(), nb::arg("codes"), nb::arg("scales"),
                     nb::arg("zeros").none(), nb::arg("zero"), nb::arg("rows"), nb::arg("columns"),
                     nb::arg("group"), nb::arg("bits"), nb::arg("integer"),
                     nb::arg("fixed").none(), nb::arg("levels").none(), nb::arg("bias").none(),
                     nb::arg("minima").none() = nb::none());
}

template <typename Value>
void define_dense(nb::class_<HeldLinear>& linear_class) {
  linear_class.def_static("dense", &dense_weights<Value>, nb::arg("panels"), nb::arg("rows"),
                     nb::arg("bias").none());
}

}  // namespace

void define_weights(nb::module_& m) {
  nb::class_<HeldLinear> linear_class(m, "Weights", "A linear of a decoder, and the arrays that it points into.");
  define_packed(linear_class);
  define_dense<std::uint16_t>(linear_class);
  define_dense<float>(linear_class);
  linear_class.def_prop_ro("rows", [](const HeldLinear& held) { return held.linear.rows; })
      .def_prop_ro("columns", [](const HeldLinear& held) { return held.linear.columns; })
      .def_prop_ro("is_packed", [](const HeldLinear& held) { return held.linear.packed.codes != nullptr; });
}
