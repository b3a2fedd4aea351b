// Python bindings of the linears.
#include "bindings/linears.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bindings/fixed_input.hpp"
#include "bindings/kernels.hpp"
#include "bindings/packed_arrays.hpp"
#include "kernels/group_sums.hpp"
#include "threads/pool.hpp"

namespace nb = nanobind;

namespace {

using namespace tersor;

using Codes = Array<const std::uint8_t, 1>;
using Zeros = std::optional<Array<const std::uint8_t, 3>>;
using Minima = std::optional<Parameters>;
template <typename Value>
using Panels = Array<const Value, 3>;

void pack(Matrix<const std::uint8_t> codes, Array<std::uint8_t, 1> packed, std::size_t group,
          unsigned bits, std::size_t threads) {
  const std::size_t rows = codes.shape(0), columns = codes.shape(1);
  check(packed.shape(0) == packed_bytes(packed_shape(rows, columns, group, bits)), "wrong size of packed");
  check(threads > 0, "at least one thread");
  const std::uint8_t* const from = codes.data();
  std::uint8_t* const to = packed.data();
  nb::gil_scoped_release release;
  std::fill(to, to + packed.shape(0), std::uint8_t{0});
  const std::size_t panels = (rows + kPanelRows - 1) / kPanelRows, parts = std::min(threads, panels);
  auto body = [&](std::size_t part) {
    const Share share(panels, parts, part);
    pack_panels(from, rows, columns, group, bits, to, share.first * kPanelRows,
                std::min(share.last * kPanelRows, rows));
  };
  in_parts(parts, body);
}

// Adds the products of minima with sums (tokens, groups) to panels first..last.
void add_minima(const Kernels& kernels, const GroupParameters& minima, const PackedWeights& weights,
                const std::vector<float>& sums, float* y, std::size_t first, std::size_t last) {
  const std::size_t groups = weights.groups();
  const FloatWeights added = {nullptr, nullptr, nullptr, nullptr, weights.rows, groups, &minima};
  kernels.float_linear(added, sums.data(), groups, sums.size() / groups, {y, weights.rows, true}, first, last);
}

void multiply(const Kernels& kernels, const PackedWeights& weights, const GroupParameters& minima, const FixedInput& input,
              const Matrix<const float>& x, Matrix<float>& y, std::size_t threads) {
  const std::size_t tokens = x.shape(0), groups = weights.groups();
  const std::size_t width = weights.chunks() * kChunk;
  std::vector<std::int8_t> codes(tokens * width);
  std::vector<float> scales(tokens * groups);
  std::vector<std::int32_t> sums(tokens * groups);
  auto quantize = [&](std::size_t part) {
    const Share share(tokens, std::min(threads, tokens), part);
    kernels.quantize(x.data() + share.first * weights.columns, weights.columns,
                     share.last - share.first, weights.columns, weights.group, input,
                     {codes.data() + share.first * width, scales.data() + share.first * groups,
                      sums.data() + share.first * groups});
  };
  // One token is quantized sooner than it is shared.
  if (tokens < 8) {
    kernels.quantize(x.data(), weights.columns, tokens, weights.columns, weights.group, input,
                     {codes.data(), scales.data(), sums.data()});
  } else {
    in_parts(std::min(threads, tokens), quantize);
  }
  const QuantizedTokens quantized = {codes.data(), scales.data(), sums.data(), tokens};
  std::vector<float> group_sums(minima.any() ? tokens * groups : 0);
  if (minima.any()) sum_groups(quantized, groups, group_sums.data());
  const std::size_t parts = std::min(threads, weights.panels());
  auto rows = [&](std::size_t part) {
    const PanelShare share(weights.panels(), parts, part);
    kernels.linear(weights, quantized, {y.data(), weights.rows, false}, share.first, share.last);
    if (minima.any()) add_minima(kernels, minima, weights, group_sums, y.data(), share.first, share.last);
  };
  in_parts(parts, rows);
}

void check_sizes(const Matrix<const float>& x, const Matrix<float>& y, std::size_t threads) {
  check(x.shape(0) == y.shape(0), "x and y differ in tokens");
  check(threads > 0, "at least one thread");
}

void linear(const std::string& level, Matrix<const float> x, Codes packed, const Parameters& scales,
            Zeros zeros, int zero, std::size_t group, unsigned bits, const Input& input,
            Matrix<float> y, std::size_t threads, const Minima& minima) {
  check_sizes(x, y, threads);
  const PackedWeights weights = packed_in(
      packed_shape(y.shape(1), x.shape(1), group, bits), packed, scales, zeros, zero);
  const FixedInput fixed = fixed_input(input);
  const GroupParameters added = minima_in(weights, minima);
  const Kernels& kernels = kernels_of(level);
  nb::gil_scoped_release release;
  if (x.shape(0) > 0) multiply(kernels, weights, added, fixed, x, y, threads);
}

void multiply_floats(const Kernels& kernels, const FloatWeights& weights,
                     const Matrix<const float>& x, Matrix<float>& y, std::size_t threads) {
  const std::size_t parts = std::min(threads, weights.panels());
  auto rows = [&](std::size_t part) {
    const PanelShare share(weights.panels(), parts, part);
    kernels.float_linear(weights, x.data(), weights.columns, x.shape(0),
                         {y.data(), weights.rows, false}, share.first, share.last);
  };
  if (x.shape(0) > 0) in_parts(parts, rows);
}

void float_linear(const std::string& level, Matrix<const float> x, Codes packed,
                  const Parameters& scales, Zeros zeros, int zero, std::size_t group, unsigned bits,
                  std::optional<Array<const float, 1>> levels, Matrix<float> y,
                  std::size_t threads, const Minima& minima) {
  check_sizes(x, y, threads);
  check(!levels || (levels->shape(0) == 16 && bits == 4), "a codebook has 16 levels and 4 bits");
  const PackedWeights weights = packed_in(
      packed_shape(y.shape(1), x.shape(1), group, bits), packed, scales, zeros, zero);
  const Kernels& kernels = kernels_of(level);
  const FloatWeights floats = {nullptr, nullptr, &weights, levels ? levels->data() : nullptr,
                               weights.rows, weights.columns};
  const GroupParameters added = minima_in(weights, minima);
  nb::gil_scoped_release release;
  multiply_floats(kernels, floats, x, y, threads);
  if (!added.any() || x.shape(0) == 0) return;
  std::vector<float> sums(x.shape(0) * weights.groups());
  sum_groups(x.data(), weights.columns, x.shape(0), weights.columns, weights.group, sums.data());
  add_minima(kernels, added, weights, sums, y.data(), 0, weights.panels());
}

template <typename Value>
void dense_linear(const std::string& level, Matrix<const float> x, Panels<Value> panels,
                  Matrix<float> y, std::size_t threads) {
  check_sizes(x, y, threads);
  FloatWeights weights = {nullptr, nullptr, nullptr, nullptr, y.shape(1), x.shape(1)};
  check(weights.rows > 0 && weights.columns > 0, "a weight has rows and columns");
  check(panels.shape(0) == weights.panels() && panels.shape(1) == weights.columns &&
            panels.shape(2) == kPanelRows,
        "dense weights are (panels, columns, 16)");
  if constexpr (std::is_same_v<Value, float>) {
    weights.wide = panels.data();
  } else {
    weights.narrow = panels.data();
  }
  const Kernels& kernels = kernels_of(level);
  nb::gil_scoped_release release;
  multiply_floats(kernels, weights, x, y, threads);
}

void define_packed(nb::module_& m) {
  m.def("linear", &linear, nb::kw_only(), nb::arg("level"), nb::arg("x"), nb::arg("packed"),
        nb::arg("scales"), nb::arg("zeros").none(), nb::arg("zero"), nb::arg("group"),
        nb::arg("bits"), nb::arg("fixed").none(), nb::arg("y"), nb::arg("threads"),
        nb::arg("minima").none() = nb::none(),
        "y = x W^T with x quantized per token and group, or by (scale, zero, lowest); scales and "
        "minima, which are added to all weights of a group, are (numbers, steps or None).");
  m.def("float_linear", &float_linear, nb::kw_only(), nb::arg("level"), nb::arg("x"), nb::arg("packed"),
        nb::arg("scales"), nb::arg("zeros").none(), nb::arg("zero"), nb::arg("group"),
        nb::arg("bits"), nb::arg("levels").none(), nb::arg("y"), nb::arg("threads"),
        nb::arg("minima").none() = nb::none(),
        "The same with x as it is; a code of 4 bits may stand for one of 16 levels.");
}

template <typename Value>
void define_dense(nb::module_& m) {
  m.def("dense_linear", &dense_linear<Value>, nb::arg("level"), nb::arg("x"), nb::arg("panels"),
        nb::arg("y"), nb::arg("threads"),
        "y = x W^T of weights (panels, columns, 16), float32 or bfloat16 (as uint16).");
}

}  // namespace

void define_linears(nb::module_& m) {
  m.def(
      "packed_bytes",
      [](std::size_t rows, std::size_t columns, std::size_t group, unsigned bits) {
        return packed_bytes(packed_shape(rows, columns, group, bits));
      },
      nb::arg("rows"), nb::arg("columns"), nb::arg("group"), nb::arg("bits"),
      "Size of a packed weight.");
  m.def("pack_panels", &pack, nb::arg("codes"), nb::arg("packed"), nb::arg("group"),
        nb::arg("bits"), nb::arg("threads"), "Pack unsigned codes (rows, columns) for the kernels.");
  define_packed(m);
  define_dense<std::uint16_t>(m);
  define_dense<float>(m);
}
