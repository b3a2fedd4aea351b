// Python bindings of the kernels.
#include "bindings/kernels.hpp"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bindings/arrays.hpp"
#include "engine/states/cache.hpp"
#include "bindings/linears.hpp"
#include "threads/pool.hpp"

namespace nb = nanobind;

namespace {

using namespace tersor;

template <typename T>
using Heads = Array<T, 3>;

// Heads of queries (heads, T, size) and of keys and values (key heads, T, size) to (T, heads, size), on one
// thread: a position sees those up to itself.
void causal_attention(const std::string& level, Heads<const float> queries,
                      Heads<const float> keys, Heads<const float> values,
                      Heads<float> out, float scale) {
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
  constexpr std::size_t kTokensTogether = 16;
  const std::size_t together = heads / key_heads;
  const Cache cache(1, {{kept_positions(count, 0, count), 1, size}}, Storage::float32);
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
    for (std::size_t first = 0; first < count; first += kTokensTogether) {
      rows.clear();
      for (std::size_t t = first; t < std::min(first + kTokensTogether, count); ++t) {
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

// Seconds to read a buffer once, fetching what is `ahead` lines further on: the processor's own fetching stops at
// every page.
double read_seconds(Array<const std::uint8_t, 1> buffer, std::size_t threads, std::size_t ahead) {
  check(threads > 0, "at least one thread");
  const std::size_t lines = buffer.shape(0) / 64;
  const std::uint8_t* const from = buffer.data();
  nb::gil_scoped_release release;
  auto body = [&](std::size_t part) {
    const Share share(lines, threads, part);
    typedef std::uint64_t Quarter __attribute__((vector_size(16)));
    Quarter sums[4] = {};
    for (std::size_t line = share.first; line < share.last; ++line) {
      __builtin_prefetch(from + (line + ahead) * 64);
      for (std::size_t i = 0; i < 4; ++i) {
        Quarter part;
        __builtin_memcpy(&part, from + line * 64 + i * 16, sizeof part);
        sums[i] |= part;
      }
    }
    const Quarter all = sums[0] | sums[1] | sums[2] | sums[3];
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

}  // namespace

const Kernels& tersor::kernels_of(const std::string& level) {
  const Kernels* found = level.empty() ? best_kernels() : kernels_named(level.c_str());
  check(found != nullptr, "this machine cannot run that level of kernels");
  return *found;
}

void define_kernels(nb::module_& m) {
  m.def("best_level", [] { return std::string(best_kernels()->name); },
        "The best level of kernels that this machine can run.");
  m.def("has_level", [](const std::string& name) { return kernels_named(name.c_str()) != nullptr; },
        nb::arg("name"), "Whether this machine can run a level of kernels.");
  m.def("causal_attention", &causal_attention, nb::arg("level"), nb::arg("queries"),
        nb::arg("keys"), nb::arg("values"), nb::arg("out"), nb::arg("scale"),
        "Attention of every position to those up to itself.");
  m.def("read_seconds", &read_seconds, nb::arg("buffer"), nb::arg("threads"), nb::arg("ahead"),
        "Seconds to read a buffer once, fetching what is `ahead` lines further on.");
  m.def("products_per_second", &products_per_second, nb::arg("level"), nb::arg("threads"),
        "Products of int8 codes that a level can do at most.");
  define_linears(m);
}
