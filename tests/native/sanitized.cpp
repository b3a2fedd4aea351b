// Every kernel of every level, and the engine on several threads, on buffers of exactly the right size.
//
// Built and run by `make sanitize` with the address, undefined-behaviour and thread sanitizers. Results are
// compared with the portable level's and with plain loops, so that nothing is optimised away.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "attention_checks.hpp"
#include "checking.hpp"
#include "engine/decoder.hpp"
#include "engine/feedforwards/experts.hpp"
#include "engine/feedforwards/gated.hpp"
#include "engine/feedforwards/plain.hpp"
#include "engine/mixers/attention.hpp"
#include "engine/sample.hpp"
#include "exact_linears.hpp"
#include "failing_parts.hpp"

namespace {

// A packed weight and what it points into.
struct Packed {
  std::vector<std::uint8_t> codes, zeros;
  std::vector<std::uint16_t> narrow;
  std::vector<float> wide;
  std::vector<std::int8_t> steps;
  PackedWeights weights;

  Packed(std::size_t rows, std::size_t columns, std::size_t group, unsigned bits, bool with_zeros,
         int kind)
      : weights{nullptr, {}, nullptr, 1 << (bits - 1), rows, columns, group, bits} {
    std::vector<std::uint8_t> plain(rows * columns);
    for (auto& code : plain) code = static_cast<std::uint8_t>(whole(0, (1 << bits) - 1));
    codes.resize(weights.panels() * weights.chunks() * chunk_bytes(bits));
    pack_panels(plain.data(), rows, columns, group, bits, codes.data(), 0, rows);
    const std::size_t parameters = weights.panels() * weights.groups() * kPanelRows;
    zeros.resize(with_zeros ? parameters : 0);
    for (auto& zero : zeros) zero = static_cast<std::uint8_t>(whole(0, (1 << bits) - 1));
    set_scales(kind, parameters);
    weights.codes = codes.data();
    weights.zeros = with_zeros ? zeros.data() : nullptr;
  }

  // As float32, bfloat16, float16, or steps of two groups' float16 number, if groups come in twos.
  void set_scales(int kind, std::size_t parameters) {
    GroupParameters& scales = weights.scales;
    if (kind == 0) {
      wide = floats(parameters, 0.01f);
      scales.wide = wide.data();
    } else if (kind == 1) {
      narrow.assign(parameters, 0x3c23);  // 0.00995 as bfloat16
      scales.narrow = narrow.data();
    } else {
      scales.shift = kind == 3 && weights.groups() % 2 == 0 ? 1 : 0;
      narrow.assign(parameters >> scales.shift, 0x211f);  // 0.01 as float16
      scales.half = narrow.data();
      if (kind == 2) return;
      for (std::size_t i = 0; i < parameters; ++i) steps.push_back(static_cast<std::int8_t>(whole(-9, 9)));
      scales.steps = steps.data();
    }
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
    constexpr unsigned kWidths[] = {2, 3, 4, 5, 6, 8};
    const unsigned bits = kWidths[whole(0, 5)];
    const Packed packed(rows, columns, group, bits, whole(0, 1), whole(0, 3));
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

Linear linear_of(const Packed& packed, bool integer) {
  Linear made;
  made.integer = integer;
  made.packed = packed.weights;
  made.rows = packed.weights.rows;
  made.columns = packed.weights.columns;
  return made;
}

void check_engine() {
  const std::size_t hidden = 48, heads = 3, size = 24, mlp = 80, vocabulary = 50, positions = 560, length = 200;
  const std::vector<float> ones(hidden, 1.0f), angles = floats(positions * size / 2);
  const std::vector<float> head_weights(heads * size, 1.0f);
  const std::vector<float> embedding = floats(vocabulary * hidden);
  const Packed q(heads * size, hidden, 16, 4, true, false), k(size, hidden, 16, 4, true, false);
  const Packed o(hidden, heads * size, 32, 8, false, true), gate(mlp, hidden, 48, 8, false, false);
  const Packed down(hidden, mlp, 32, 4, false, false), head(vocabulary, hidden, 48, 8, false, false);
  constexpr std::size_t window = 20;
  std::vector<std::vector<float>> found;
  for (const std::size_t threads : {1, 2, 3}) {
    for (const bool integer : {true, false}) {
      Model model;
      model.embedding.wide = embedding.data();
      model.embedding.vocabulary = vocabulary;
      model.embedding.hidden = hidden;
      const Norm norm = {NormKind::root_mean_square, ones.data(), nullptr, 1e-5f};
      const Norm centred = {NormKind::centred, ones.data(), ones.data(), 1e-5f};
      model.head.norm = norm;
      model.head.site.linears = {linear_of(head, integer)};
      const Site input = {{linear_of(q, integer), linear_of(k, integer), linear_of(k, integer)}};
      const Site gate_up = {{linear_of(gate, integer), linear_of(gate, integer)}};
      // Of all heads at once, and of pairs that turn.
      const Norm of_heads = {NormKind::root_mean_square, head_weights.data(), nullptr, 1e-5f};
      const Rope rope = {angles.data(), angles.data(), positions, size / 2, true};
      for (const std::size_t seen : {window, std::size_t{0}}) {
        Block block;
        block.mixer_norm = block.feedforward_norm = norm;
        const Attention::Shape shape = {heads, 1, size, seen, 0.2f, 0.0f};
        block.mixer = std::make_shared<Attention>(shape, input, Site{{linear_of(o, integer)}},
                                                  HeadNorm{of_heads}, HeadNorm{of_heads}, rope);
        block.feedforward = std::make_shared<Gated>(mlp, Activation::silu, gate_up, Site{{linear_of(down, integer)}});
        model.blocks.push_back(block);
        const Experts::Expert expert = {linear_of(gate, integer), linear_of(gate, integer), linear_of(down, integer)};
        Linear router, shared_gate;
        router.wide = shared_gate.wide = embedding.data();
        router.columns = shared_gate.columns = hidden;
        router.rows = 5;
        shared_gate.rows = 1;
        const Routing routing = {Scores::sigmoid, 5, 2, 1, 1, true, 1e-20f, 1.5f, nullptr};
        block.feedforward = std::make_shared<Experts>(routing, Activation::silu, router,
                                                      std::vector<Experts::Expert>(6, expert), true, &shared_gate);
        block.feedforward_norm = centred;
        block.after_feedforward.norm = seen == 0 ? centred : Norm{};
        model.blocks.push_back(block);
        block.feedforward = std::make_shared<Plain>(Nonlinearity{Nonlinearity::Kind::gelu},
                                                    Site{{linear_of(gate, integer)}}, Site{{linear_of(down, integer)}});
        block.after_feedforward = {};
        block.after_mixer.later = true;
        model.blocks.push_back(block);
      }
      // With one thread, so many are run at once that the layer with a window keeps all.
      const std::size_t together = threads == 1 ? positions : length;
      Decoder decoder(model, 2, positions, Storage::bfloat16, *best_kernels(), threads, together);
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
    require(found[i] == found[i % 2], "threads, or what is kept, changed a bit", best_kernels()->name);
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
  check_rings();
  check_engine();
  failing::check();
  std::puts("all kernels stay inside their buffers");
}
