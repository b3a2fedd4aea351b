// Python bindings of a decoder's linears.
#include "bindings/weights.hpp"

#include <nanobind/stl/optional.h>

#include "bindings/fixed_input.hpp"
#include "bindings/packed_arrays.hpp"

namespace nb = nanobind;

namespace {

using namespace tersor;

using Floats = std::optional<Array<const float, 1>>;

template <typename Scale>
Weights packed_weights(Array<const std::uint8_t, 1> codes, Array<const Scale, 3> scales,
                       std::optional<Array<const std::uint8_t, 3>> zeros, int zero, std::size_t rows,
                       std::size_t columns, std::size_t group, unsigned bits, bool integer,
                       const Input& input, const Floats& levels, const Floats& bias) {
  check(!levels || (levels->shape(0) == 16 && bits == 4 && !integer),
        "a codebook has 16 levels and needs float activations");
  Weights made;
  Linear& linear = made.linear;
  linear.rows = rows;
  linear.columns = columns;
  linear.integer = integer;
  linear.input = fixed_input(input);
  linear.packed =
      packed_in<Scale>(packed_shape(rows, columns, group, bits), codes, scales, zeros, zero);
  made.keep(codes);
  made.keep(scales);
  if (zeros) made.keep(*zeros);
  if (levels) linear.values = made.keep(*levels);
  made.set_bias(bias);
  return made;
}

template <typename Value>
Weights dense_weights(Array<const Value, 3> panels, std::size_t rows, const Floats& bias) {
  Weights made;
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

template <typename Scale>
void define_packed(nb::class_<Weights>& weights) {
  weights.def_static("packed", &packed_weights<Scale>, nb::arg("codes"), nb::arg("scales"),
                     nb::arg("zeros").none(), nb::arg("zero"), nb::arg("rows"), nb::arg("columns"),
                     nb::arg("group"), nb::arg("bits"), nb::arg("integer"),
                     nb::arg("fixed").none(), nb::arg("levels").none(), nb::arg("bias").none());
}

template <typename Value>
void define_dense(nb::class_<Weights>& weights) {
  weights.def_static("dense", &dense_weights<Value>, nb::arg("panels"), nb::arg("rows"),
                     nb::arg("bias").none());
}

}  // namespace

void define_weights(nb::module_& m) {
  nb::class_<Weights> weights(m, "Weights", "A linear of a decoder.");
  define_packed<std::uint16_t>(weights);
  define_packed<float>(weights);
  define_dense<std::uint16_t>(weights);
  define_dense<float>(weights);
  weights.def_prop_ro("rows", [](const Weights& w) { return w.linear.rows; })
      .def_prop_ro("columns", [](const Weights& w) { return w.linear.columns; })
      .def_prop_ro("is_packed", [](const Weights& w) { return w.linear.packed.codes != nullptr; });
}
