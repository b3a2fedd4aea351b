// Python bindings of the kernels.
#include "module_kernels.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/cache.hpp"
#include "fixed_input.hpp"
#include "kernels/kernels.hpp"
#include "pool.hpp"

namespace nb = nanobind;

namespace {

using namespace tersor;

template <typename T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Bytes = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Parameters = nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

void check(bool ok, const char* what) {
  if (!ok) throw nb::value_error(what);
}

PackedWeights shape_of(std::size_t rows, std::size_t columns, std::size_t group, unsigned bits) {
  check(rows > 0 && columns > 0, "a weight has rows and columns");
  check(group > 0 && group <= columns, "a group has at least one column and at most all");
  check(is_packed_width(bits), "bits must be 2, 3, 4 or 8");
  return {nullptr, nullptr, nullptr, nullptr, 0, rows, columns, group, bits};
}

std::size_t packed_bytes(std::size_t rows, std::size_t columns, std::size_t group, unsigned bits) {
  const PackedWeights shape = shape_of(rows, columns, group, bits);
  return shape.panels() * shape.chunks() * chunk_bytes(bits);
}

template <typename T>
void check_parameters(const Parameters<T>& found, const PackedWeights& weights) {
  check(found.shape(0) == weights.panels() && found.shape(1) == weights.groups() &&
            found.shape(2) == kPanelRows,
        "parameters are (panels, groups, 16)");
}

const Kernels& kernels_of(const std::string& level) {
  const Kernels* found = level.empty() ? best_kernels() : kernels_named(level.c_str());
  check(found != nullptr, "this machine cannot run that level of kernels");
  return *found;
}

// [0, count) in `parts`, the i-th part.
struct Share {
  std::size_t first, last;
  Share(std::size_t count, std::size_t parts, std::size_t i)
      : first(count * i / parts), last(count * (i + 1) / parts) {}
};

void pack(Matrix<const std::uint8_t> codes, Bytes<std::uint8_t> packed, std::size_t group,
          unsigned bits, std::size_t threads) {
  const std::size_t rows = codes.shape(0), columns = codes.shape(1);
  check(packed.shape(0) == packed_bytes(rows, columns, group, bits), "wrong size of packed");
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

void multiply(const Kernels& kernels, const PackedWeights& weights, const FixedInput& input,
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
  const std::size_t parts = std::min(threads, weights.panels());
  auto rows = [&](std::size_t part) {
    const PanelShare share(weights.panels(), parts, part);
    kernels.linear(weights, quantized, {y.data(), weights.rows, false}, share.first, share.last);
  };
  in_parts(parts, rows);
}

template <typename Scale>
void linear(const std::string& level, Matrix<const float> x, Bytes<const std::uint8_t> packed,
            Parameters<const Scale> scales, std::optional<Parameters<const std::uint8_t>> zeros,
            int zero, std::size_t group, unsigned bits, const Input& input, Matrix<float> y,
            std::size_t threads) {
  PackedWeights weights = shape_of(y.shape(1), x.shape(1), group, bits);
  check(packed.shape(0) == packed_bytes(y.shape(1), x.shape(1), group, bits),
        "packed is not of a weight of this shape");
  check(x.shape(0) == y.shape(0), "x and y differ in tokens");
  check(threads > 0, "at least one thread");
  check_parameters(scales, weights);
  weights.codes = packed.data();
  if constexpr (std::is_same_v<Scale, float>) {
    weights.wide_scales = scales.data();
  } else {
    weights.scales = scales.data();
  }
  if (zeros) {
    check_parameters(*zeros, weights);
    weights.zeros = zeros->data();
  }
  weights.zero = zero;
  const FixedInput fixed = fixed_input(input);
  const Kernels& kernels = kernels_of(level);
  nb::gil_scoped_release release;
  if (x.shape(0) > 0) multiply(kernels, weights, fixed, x, y, threads);
}

// Heads of queries (heads, T, size) and of keys and values (key heads, T, size) to (T, heads, size), on one
// thread: a position sees those up to itself.
void causal_attention(const std::string& level, Parameters<const float> queries,
                      Parameters<const float> keys, Parameters<const float> values,
                      Parameters<float> out, float scale) {
  const std::size_t heads = queries.shape(0), count = queries.shape(1), size = queries.shape(2);
  const std::size_t key_heads = keys.shape(0);
  const auto like_keys = [&](const auto& array) {
    return array.shape(0) == key_heads && array.shape(1) == count && array.shape(2) == size;
  };
  check(count > 0 && size > 0 && key_heads > 0 && heads % key_heads == 0 && like_keys(keys) &&
            like_keys(values),
        "queries, keys and values are (heads, T, size)");
  check(out.shape(0) == count && out.shape(1) == heads && out.shape(2) == size,
        "the output is (T, heads, size)");
  const Kernels& kernels = kernels_of(level);
  nb::gil_scoped_release release;
  constexpr std::size_t kTile = 16;
  const std::size_t together = heads / key_heads;
  const Cache cache(1, 1, 1, size, count, Storage::float32);
  const KeysValues held = cache.head(0, 0, 0);
  std::vector<float> scaled(queries.data(), queries.data() + heads * count * size);
  for (float& value : scaled) value *= scale;
  std::vector<float> scratch(attention_scratch(held.padded()));
  std::vector<AttentionRow> rows;
  for (std::size_t head = 0; head < key_heads; ++head) {
    for (std::size_t t = 0; t < count; ++t) {
      const std::size_t place = (head * count + t) * size;
      kernels.store(held, t, keys.data() + place, values.data() + place);
    }
    for (std::size_t first = 0; first < count; first += kTile) {
      rows.clear();
      for (std::size_t t = first; t < std::min(first + kTile, count); ++t) {
        for (std::size_t i = head * together; i < (head + 1) * together; ++i) {
          rows.push_back({scaled.data() + (i * count + t) * size,
                          out.data() + (t * heads + i) * size, 0, t + 1});
        }
      }
      kernels.attend(held, rows.data(), rows.size(), 0.0f, scratch.data());
    }
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Seconds to read a buffer once.
double read_seconds(Bytes<const std::uint8_t> buffer, std::size_t threads) {
  check(threads > 0, "at least one thread");
  const std::size_t lines = buffer.shape(0) / 64;
  const std::uint8_t* const from = buffer.data();
  nb::gil_scoped_release release;
  auto body = [&](std::size_t part) {
    const Share share(lines, threads, part);
    typedef std::uint64_t Line __attribute__((vector_size(64)));
    Line sums[4] = {};
    std::size_t i = share.first;
    for (; i + 4 <= share.last; i += 4) {
      for (std::size_t j = 0; j < 4; ++j) {
        Line line;
        __builtin_memcpy(&line, from + (i + j) * 64, sizeof line);
        sums[j] |= line;
      }
    }
    const Line all = sums[0] | sums[1] | sums[2] | sums[3];
    asm volatile("" : : "m"(all));
  };
  const auto start = std::chrono::steady_clock::now();
  in_parts(threads, body);
  return seconds_since(start);
}

double products_per_second(const std::string& level, std::size_t threads) {
  check(threads > 0, "at least one thread");
  const Kernels& kernels = kernels_of(level);
  nb::gil_scoped_release release;
  std::vector<std::size_t> counts(threads);
  auto body = [&](std::size_t part) { counts[part] = kernels.multiply_only(2000000); };
  const auto start = std::chrono::steady_clock::now();
  in_parts(threads, body);
  const double seconds = seconds_since(start);
  std::size_t total = 0;
  for (const std::size_t count : counts) total += count;
  return static_cast<double>(total) / seconds;
}

template <typename Scale>
void define_linear(nb::module_& m) {
  m.def("linear", &linear<Scale>, nb::arg("level"), nb::arg("x"), nb::arg("packed"),
        nb::arg("scales"), nb::arg("zeros").none(), nb::arg("zero"), nb::arg("group"),
        nb::arg("bits"), nb::arg("fixed").none(), nb::arg("y"), nb::arg("threads"),
        "y = x W^T with x quantized per token and group, or by (scale, zero, lowest); uint16 scales "
        "are bfloat16.");
}

}  // namespace

void define_kernels(nb::module_& m) {
  m.def("best_level", [] { return std::string(best_kernels()->name); },
        "The best level of kernels that this machine can run.");
  m.def("has_level", [](const std::string& name) { return kernels_named(name.c_str()) != nullptr; },
        nb::arg("name"), "Whether this machine can run a level of kernels.");
  m.def("packed_bytes", &packed_bytes, nb::arg("rows"), nb::arg("columns"), nb::arg("group"),
        nb::arg("bits"), "Size of a packed weight.");
  m.def("pack_panels", &pack, nb::arg("codes"), nb::arg("packed"), nb::arg("group"),
        nb::arg("bits"), nb::arg("threads"), "Pack unsigned codes (rows, columns) for the kernels.");
  m.def("causal_attention", &causal_attention, nb::arg("level"), nb::arg("queries"),
        nb::arg("keys"), nb::arg("values"), nb::arg("out"), nb::arg("scale"),
        "Attention of every position to those up to itself.");
  m.def("read_seconds", &read_seconds, nb::arg("buffer"), nb::arg("threads"),
        "Seconds to read a buffer once.");
  m.def("products_per_second", &products_per_second, nb::arg("level"), nb::arg("threads"),
        "Products of int8 codes that a level can do at most.");
  define_linear<std::uint16_t>(m);
  define_linear<float>(m);
}
