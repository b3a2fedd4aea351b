// Every kernel of every level, and the engine on several threads, on buffers of exactly the right size.
//
// Built and run by `make sanitize` with the address, undefined-behaviour and thread sanitizers. Results are
// compared with the portable level's and with plain loops, so that nothing is optimised away.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/sample.hpp"
#include "exact_linears.hpp"

using namespace tersor;

namespace {

std::mt19937 chance(1);

int whole(int low, int high) { return std::uniform_int_distribution<int>(low, high)(chance); }

std::vector<float> floats(std::size_t count, float scale = 1.0f) {
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> made(count);
  for (float& value : made) value = normal(chance);
  return made;
}

void require(bool ok, const char* what, const char* level) {
  if (ok) return;
  std::fprintf(stderr, "%s at level %s\n", what, level);
  std::exit(1);
}

bool close(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(a[i] - b[i]) <= tolerance * (1.0f + std::fabs(b[i])))) return false;
  }
  return true;
}

std::vector<const Kernels*> levels() {
  std::vector<const Kernels*> found;
  for (const char* name : {"portable", "avx2", "avx_vnni", "avx512vl_vnni", "avx512_vnni", "avx512_bf16",
                           "amx", "neon_dotprod", "neon_i8mm"}) {
    if (const Kernels* kernels = kernels_named(name)) found.push_back(kernels);
  }
  return found;
}

// A packed weight and what it points into.
struct Packed {
  std::vector<std::uint8_t> codes, zeros;
  std::vector<std::uint16_t> narrow;
  std::vector<float> wide;
  PackedWeights weights;

  Packed(std::size_t rows, std::size_t columns, std::size_t group, unsigned bits, bool with_zeros,
         bool with_wide)
      : weights{nullptr, nullptr, nullptr, nullptr, 1 << (bits - 1), rows, columns, group, bits} {
    std::vector<std::uint8_t> plain(rows * columns);
    for (auto& code : plain) code = static_cast<std::uint8_t>(whole(0, (1 << bits) - 1));
    codes.resize(weights.panels() * weights.chunks() * chunk_bytes(bits));
    pack_panels(plain.data(), rows, columns, group, bits, codes.data(), 0, rows);
    const std::size_t parameters = weights.panels() * weights.groups() * kPanelRows;
    zeros.resize(with_zeros ? parameters : 0);
    for (auto& zero : zeros) zero = static_cast<std::uint8_t>(whole(0, (1 << bits) - 1));
    if (with_wide) {
      wide = floats(parameters, 0.01f);
    } else {
      narrow.assign(parameters, 0x3c23);  // 0.00995 as bfloat16
    }
    weights.codes = codes.data();
    weights.scales = with_wide ? nullptr : narrow.data();
    weights.wide_scales = with_wide ? wide.data() : nullptr;
    weights.zeros = with_zeros ? zeros.data() : nullptr;
  }
};

struct Quantized {
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
};

Quantized quantized(const Kernels& kernels, const PackedWeights& w, const FixedInput& fixed,
                    const std::vector<float>& x, std::size_t tokens) {
  Quantized made{std::vector<std::int8_t>(tokens * w.chunks() * kChunk),
                 std::vector<float>(tokens * w.groups()),
                 std::vector<std::int32_t>(tokens * w.groups())};
  kernels.quantize(x.data(), w.columns, tokens, w.columns, w.group, fixed,
                   {made.codes.data(), made.scales.data(), made.sums.data()});
  return made;
}

void check_linears() {
  for (int round = 0; round < 60; ++round) {
    const std::size_t rows = static_cast<std::size_t>(whole(1, 70));
    const std::size_t columns = static_cast<std::size_t>(whole(1, 200));
    const std::size_t group = static_cast<std::size_t>(whole(1, static_cast<int>(columns)));
    constexpr unsigned kWidths[] = {2, 3, 4, 8};
    const unsigned bits = kWidths[whole(0, 3)];
    const Packed packed(rows, columns, group, bits, whole(0, 1), whole(0, 1));
    const std::size_t tokens = static_cast<std::size_t>(whole(1, 19));
    const std::vector<float> x = floats(tokens * columns);
    const FixedInput fixed = whole(0, 1) ? FixedInput{0.02f, whole(-20, 20), -128} : FixedInput{};
    const auto first = quantized(*portable_kernels(), packed.weights, fixed, x, tokens);
    // What was there is either added to or replaced.
    const std::vector<float> before = floats(tokens * rows);
    const bool add = whole(0, 1);
    std::vector<float> integer(tokens * rows), decoded(tokens * rows);
    const std::vector<float> table = floats(16);
    const bool is_table = bits == 4 && whole(0, 1);
    const FloatWeights as_floats = {nullptr, nullptr,     &packed.weights, is_table ? table.data() : nullptr,
                                    rows,    columns};
    for (const Kernels* kernels : levels()) {
      const auto mine = quantized(*kernels, packed.weights, fixed, x, tokens);
      require(mine.codes == first.codes && mine.sums == first.sums, "codes differ", kernels->name);
      std::vector<float> y = before, z = before;
      kernels->linear(packed.weights, {mine.codes.data(), mine.scales.data(), mine.sums.data(), tokens},
                      {y.data(), rows, add}, 0, packed.weights.panels());
      kernels->float_linear(as_floats, x.data(), columns, tokens, {z.data(), rows, add}, 0,
                            packed.weights.panels());
      if (kernels == portable_kernels()) {
        integer = y;
        decoded = z;
      }
      require(close(y, integer, 1e-4f), "integer linear", kernels->name);
      require(close(z, decoded, 1e-3f), "float linear", kernels->name);
    }
  }
}

void check_elementwise() {
  for (std::size_t size : {1, 7, 15, 16, 17, 31, 64, 100}) {
    const std::vector<float> x = floats(size), up = floats(size);
    for (const Kernels* kernels : levels()) {
      std::vector<float> y(size), gated = x, capped = x;
      kernels->norm(x.data(), up.data(), size, 1e-5f, y.data());
      kernels->gate(Activation::silu, gated.data(), up.data(), size);
      kernels->soft_cap(capped.data(), size, 2.0f);
      double mean = 0.0;
      for (const float value : x) mean += static_cast<double>(value) * value / static_cast<double>(size);
      for (std::size_t i = 0; i < size; ++i) {
        const double norm = up[i] * x[i] / std::sqrt(mean + 1e-5);
        const double silu = x[i] / (1.0 + std::exp(-static_cast<double>(x[i]))) * up[i];
        require(std::fabs(y[i] - norm) < 1e-5 * (1 + std::fabs(norm)), "norm", kernels->name);
        require(std::fabs(gated[i] - silu) < 1e-5 * (1 + std::fabs(silu)), "gate", kernels->name);
        require(std::fabs(capped[i] - 2.0 * std::tanh(x[i] / 2.0)) < 1e-5, "cap", kernels->name);
      }
    }
  }
}

// Softmax of scores, times values, in plain double loops.
std::vector<float> plain_attention(const std::vector<float>& keys, const std::vector<float>& values,
                                   const AttentionRow& row, std::size_t size) {
  std::vector<double> weights(row.last);
  double total = 0.0;
  for (std::size_t p = row.first; p < row.last; ++p) {
    double score = 0.0;
    for (std::size_t d = 0; d < size; ++d) score += double(row.query[d]) * keys[p * size + d];
    total += weights[p] = std::exp(score);
  }
  std::vector<float> found(size);
  for (std::size_t d = 0; d < size; ++d) {
    double sum = 0.0;
    for (std::size_t p = row.first; p < row.last; ++p) sum += weights[p] / total * values[p * size + d];
    found[d] = static_cast<float>(sum);
  }
  return found;
}

void check_attention() {
  for (std::size_t size : {8, 16, 24, 64, 80}) {
    for (Storage storage : {Storage::float32, Storage::float16, Storage::bfloat16, Storage::int16, Storage::int8}) {
      // What no query sees is not a number.
      constexpr std::size_t positions = 300, seen = 277, count = 40;
      const std::vector<float> unseen(size, std::nanf(""));
      const std::vector<float> keys = floats(positions * size, 0.5f), values = floats(positions * size);
      const std::vector<float> queries = floats(count * size, 0.5f);
      for (const Kernels* kernels : levels()) {
        const Cache cache(1, 1, 1, size, positions, storage);
        const KeysValues head = cache.head(0, 0, 0);
        for (std::size_t p = 0; p < positions; ++p) {
          const bool is_seen = p < seen;
          kernels->store(head, p, is_seen ? keys.data() + p * size : unseen.data(),
                         is_seen ? values.data() + p * size : unseen.data());
        }
        std::vector<float> outputs(count * size), scratch(attention_scratch(head.padded()));
        std::vector<AttentionRow> rows;
        for (std::size_t r = 0; r < count; ++r) {
          const std::size_t last = 7 * r + 3, first = r % 2 ? last / 2 : 0;
          rows.push_back({queries.data() + r * size, outputs.data() + r * size, first, last});
        }
        kernels->attend(head, rows.data(), rows.size(), 0.0f, scratch.data());
        const float tolerance = storage == Storage::float32    ? 1e-5f
                                : storage == Storage::float16  ? 5e-3f
                                : storage == Storage::bfloat16 ? 4e-2f
                                : storage == Storage::int16    ? 1e-3f
                                                               : 0.1f;
        for (std::size_t r = 0; r < count; ++r) {
          const std::vector<float> found(outputs.begin() + long(r * size), outputs.begin() + long((r + 1) * size));
          require(close(found, plain_attention(keys, values, rows[r], size), tolerance), "attention",
                  kernels->name);
        }
      }
    }
  }
}

Linear linear_of(const Packed& packed, bool integer) {
  Linear made;
  made.integer = integer;
  made.packed = packed.weights;
  made.rows = packed.weights.rows;
  made.columns = packed.weights.columns;
  return made;
}

void check_engine() {
  const std::size_t hidden = 48, heads = 3, size = 24, mlp = 80, vocabulary = 50, positions = 230, length = 200;
  const std::vector<float> ones(hidden, 1.0f), angles = floats(positions * size / 2);
  const std::vector<float> embedding = floats(vocabulary * hidden);
  const Packed q(heads * size, hidden, 16, 4, true, false), k(size, hidden, 16, 4, true, false);
  const Packed o(hidden, heads * size, 32, 8, false, true), gate(mlp, hidden, 48, 8, false, false);
  const Packed down(hidden, mlp, 32, 4, false, false), head(vocabulary, hidden, 48, 8, false, false);
  std::vector<std::vector<float>> found;
  for (const std::size_t threads : {1, 2, 3}) {
    for (const bool integer : {true, false}) {
      Model model = {};
      model.hidden = hidden;
      model.heads = heads;
      model.key_heads = 1;
      model.head_size = size;
      model.mlp_size = mlp;
      model.vocabulary = vocabulary;
      model.epsilon = 1e-5f;
      model.query_scale = 0.2f;
      model.embedding_scale = 1.0f;
      model.activation = Activation::silu;
      model.wide_embedding = embedding.data();
      model.final_norm = ones.data();
      model.head.linears = {linear_of(head, integer)};
      model.ropes = {{angles.data(), angles.data(), positions, size / 2}};
      Layer layer = {};
      layer.attention_norm = layer.mlp_norm = ones.data();
      layer.attention.linears = {linear_of(q, integer), linear_of(k, integer), linear_of(k, integer)};
      layer.attention_output.linears = {linear_of(o, integer)};
      layer.mlp.linears = {linear_of(gate, integer), linear_of(gate, integer)};
      layer.mlp_output.linears = {linear_of(down, integer)};
      model.layers = {layer, layer};
      Decoder decoder(model, Cache(2, 2, 1, size, positions, Storage::bfloat16), *best_kernels(), threads, length);
      std::vector<float> logits(vocabulary);
      std::vector<Token> prompt;
      for (std::size_t i = 0; i < length; ++i) prompt.push_back({i % vocabulary, 0, i});
      decoder.run(prompt, {length - 1}, logits.data());
      for (std::size_t i = length; i < positions; ++i) {
        std::vector<float> both(2 * vocabulary);
        decoder.run({{i % vocabulary, 0, i}, {i % vocabulary, 1, i - length}}, {0, 1}, both.data());
        logits.assign(both.begin(), both.begin() + vocabulary);
      }
      found.push_back(logits);
      require(sample(logits.data(), vocabulary, {1.0f, 5, 0.9f, 0.01f}, 0.5) < vocabulary, "sample", "any");
    }
  }
  for (std::size_t i = 2; i < found.size(); ++i) {
    require(found[i] == found[i % 2], "the number of threads changed a bit", best_kernels()->name);
  }
}

}  // namespace

// With an argument, the best level of this machine must be the one of that name.
int main(int count, char** arguments) {
  if (count > 1) require(std::strcmp(arguments[1], best_kernels()->name) == 0, "another is best", arguments[1]);
  exact::check_linears(levels());
  check_linears();
  check_elementwise();
  check_attention();
  check_engine();
  std::puts("all kernels stay inside their buffers");
}
