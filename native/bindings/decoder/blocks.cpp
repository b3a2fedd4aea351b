// Python bindings of mixers and feed-forwards.
#include "bindings/decoder/blocks.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>

#include "engine/feedforwards/experts.hpp"
#include "engine/feedforwards/gated.hpp"
#include "engine/feedforwards/plain.hpp"
#include "engine/mixers/attention.hpp"

namespace nb = nanobind;

namespace tersor {

Site site_of(const std::vector<const HeldLinear*>& parts, std::size_t columns, std::size_t rows, Kept& kept) {
  Site made;
  std::size_t found = 0;
  for (const HeldLinear* part : parts) {
    check(part->linear.columns == columns, "a linear does not fit its input");
    found += part->linear.rows;
    made.linears.push_back(part->linear);
    keep_all(kept, part->kept);
  }
  check(!parts.empty() && found == rows, "linears do not add up to their output");
  return made;
}

}  // namespace tersor

namespace {

using namespace tersor;

using Linears = std::vector<HeldLinear*>;

std::vector<const HeldLinear*> constant(const Linears& linears) { return {linears.begin(), linears.end()}; }

struct HeldRope {
  Rope rope;
  Kept kept;
};

HeldRope make_rope(const Array<const float, 2>& cosines, const Array<const float, 2>& sines, bool pairs) {
  const std::size_t half = cosines.shape(1);
  check(sines.shape(0) == cosines.shape(0) && sines.shape(1) == half,
        "cosines and sines are (positions, half of what turns)");
  return {{cosines.data(), sines.data(), cosines.shape(0), half, pairs}, {nb::cast(cosines), nb::cast(sines)}};
}

Activation activation_named(const std::string& name) {
  check(name == "silu" || name == "gelu_tanh", "an activation is silu or gelu_tanh");
  return name == "silu" ? Activation::silu : Activation::gelu_tanh;
}

HeadNorm head_norm(const HeldNorm* held, std::size_t heads, std::size_t size, Kept& kept) {
  if (held == nullptr) return {};
  const std::size_t all = heads * size;
  const HeadNorm::Span span = held->spans_all ? HeadNorm::Span::all
                              : held->size == size ? HeadNorm::Span::head
                                                   : HeadNorm::Span::own;
  return {norm_of(held, span == HeadNorm::Span::head ? size : all, kept), span};
}

HeldMixer make_attention(const Linears& input, const HeldLinear& output, const HeldNorm* query_norm,
                         const HeldNorm* key_norm, const HeldRope* rope, const Attention::Shape& shape) {
  check(shape.key_heads > 0 && shape.heads > 0 && shape.heads % shape.key_heads == 0 && shape.size > 0,
        "not the shape of attention");
  check(shape.size <= kMostDimensions, "heads have more dimensions than the engine holds");
  check(!shape.is_fused || shape.heads == shape.key_heads, "heads that lie together are as many");
  check(rope == nullptr || 2 * rope->rope.half <= shape.size, "more turns than a head has");
  check(rope == nullptr || !rope->rope.pairs || !shape.turns_first, "pairs that turn are normed before");
  HeldMixer made = {nullptr, output.linear.rows};
  Site in = site_of(constant(input), made.hidden, shape.width(), made.kept);
  Site out = site_of({&output}, shape.heads * shape.size, made.hidden, made.kept);
  const HeadNorm of_queries = head_norm(query_norm, shape.heads, shape.size, made.kept);
  const HeadNorm of_keys = head_norm(key_norm, shape.key_heads, shape.size, made.kept);
  check((of_queries.span == HeadNorm::Span::all) == (of_keys.span == HeadNorm::Span::all) &&
            (of_queries.span != HeadNorm::Span::all || !(shape.is_fused || shape.turns_first)),
        "queries and keys are normed alike");
  if (rope != nullptr) {
    made.positions = rope->rope.positions;
    keep_all(made.kept, rope->kept);
  }
  made.mixer = std::make_shared<Attention>(shape, std::move(in), std::move(out), of_queries, of_keys,
                                           rope == nullptr ? Rope{} : rope->rope);
  return made;
}

HeldFeedForward make_gated(const std::string& activation, const Linears& input, const HeldLinear& output) {
  const std::size_t size = output.linear.columns;
  HeldFeedForward made = {nullptr, output.linear.rows};
  Site in = site_of(constant(input), made.hidden, 2 * size, made.kept);
  check(input.size() == 1 ? size % kPanelRows == 0 : input.size() == 2 && input[0]->linear.rows == size,
        "gate and up are one linear of whole panels each, or two");
  Site out = site_of({&output}, size, made.hidden, made.kept);
  made.feedforward = std::make_shared<Gated>(size, activation_named(activation), std::move(in), std::move(out));
  return made;
}

Nonlinearity nonlinearity_named(const std::string& name, const std::vector<float>& numbers) {
  using Kind = Nonlinearity::Kind;
  const std::pair<const char*, Kind> kinds[] = {{"silu", Kind::silu}, {"gelu_tanh", Kind::gelu_tanh},
                                                {"gelu", Kind::gelu}, {"relu", Kind::relu},
                                                {"relu2", Kind::relu_squared}, {"xielu", Kind::xielu}};
  for (const auto& [known, kind] : kinds) {
    if (name != known) continue;
    if (kind != Kind::xielu) return {kind};
    check(numbers.size() == 5, "xielu has five numbers");
    return {kind, {numbers[0], numbers[1]}, {numbers[2], numbers[3]}, numbers[4]};
  }
  throw nb::value_error("no such activation");
}

HeldFeedForward make_plain(const std::string& activation, const std::vector<float>& numbers, const HeldLinear& input,
                           const HeldLinear& output) {
  HeldFeedForward made = {nullptr, output.linear.rows};
  Site in = site_of({&input}, made.hidden, output.linear.columns, made.kept);
  Site out = site_of({&output}, output.linear.columns, made.hidden, made.kept);
  made.feedforward =
      std::make_shared<Plain>(nonlinearity_named(activation, numbers), std::move(in), std::move(out));
  return made;
}

struct HeldRouting {
  Routing routing;
  Kept kept;
};

HeldRouting make_routing(const std::string& scores, std::size_t experts, std::size_t chosen, std::size_t groups,
                         std::size_t chosen_groups, bool normalized, float least, float scale,
                         const std::optional<Array<const float, 1>>& correction) {
  check(scores == "softmax" || scores == "sigmoid", "scores are softmax or sigmoid");
  check(groups > 0 && experts > 0 && experts % groups == 0 && chosen_groups > 0 && chosen_groups <= groups &&
            chosen > 0 && chosen <= chosen_groups * (experts / groups),
        "not so many experts can be chosen");
  check(!correction || correction->shape(0) == experts, "a correction has one value for every expert");
  HeldRouting made = {{scores == "softmax" ? Scores::softmax : Scores::sigmoid, experts, chosen, groups,
                       chosen_groups, normalized, least, scale, correction ? correction->data() : nullptr},
                      {}};
  if (correction) made.kept.push_back(nb::cast(*correction));
  return made;
}

HeldFeedForward make_experts(const HeldRouting& routing, const std::string& activation, const HeldLinear& router,
                             const std::vector<Linears>& experts, bool has_shared, const HeldLinear* shared_gate) {
  const std::size_t count = routing.routing.experts;
  check(experts.size() == count + (has_shared ? 1 : 0), "not as many experts as are routed to");
  check(shared_gate == nullptr || has_shared, "there is no expert for every token");
  HeldFeedForward made = {nullptr, router.linear.columns, routing.kept};
  site_of({&router}, made.hidden, count, made.kept);
  if (shared_gate != nullptr) site_of({shared_gate}, made.hidden, 1, made.kept);
  check(!router.linear.integer && (shared_gate == nullptr || !shared_gate->linear.integer),
        "routers take activations as they are");
  std::vector<Experts::Expert> all;
  for (const Linears& parts : experts) {
    check(parts.size() == 3, "an expert is gate, up and down");
    const std::size_t size = parts[2]->linear.columns;
    const Site in = site_of({parts[0], parts[1]}, made.hidden, 2 * size, made.kept);
    const Site out = site_of({parts[2]}, size, made.hidden, made.kept);
    check(in.linears[0].rows == size, "gate and up are alike");
    all.push_back({in.linears[0], in.linears[1], out.linears[0]});
  }
  made.feedforward =
      std::make_shared<Experts>(routing.routing, activation_named(activation), router.linear, std::move(all),
                                has_shared, shared_gate == nullptr ? nullptr : &shared_gate->linear);
  return made;
}

HeldNorm make_norm(std::optional<Array<const float, 1>> weight, std::optional<Array<const float, 1>> bias,
                   std::size_t size, float epsilon, bool centred, bool spans_all) {
  check(centred || (weight && !bias), "only centred norms go without a weight, or have a bias");
  check((!weight || weight->shape(0) == size) && (!bias || bias->shape(0) == size),
        "a norm has one value for every element");
  HeldNorm made = {{centred ? NormKind::centred : NormKind::root_mean_square, weight ? weight->data() : nullptr,
                    bias ? bias->data() : nullptr, epsilon},
                   size, spans_all};
  if (weight) made.kept.push_back(nb::cast(*weight));
  if (bias) made.kept.push_back(nb::cast(*bias));
  return made;
}

void define_parts(nb::module_& m) {
  nb::class_<HeldNorm>(m, "Norm", "A norm of rows, and the arrays that it points into.")
      .def("__init__",
           [](HeldNorm* made, std::optional<Array<const float, 1>> weight, std::optional<Array<const float, 1>> bias,
              std::size_t size, float epsilon, bool centred, bool spans_all) {
             new (made) HeldNorm(make_norm(weight, bias, size, epsilon, centred, spans_all));
           },
           nb::kw_only(), nb::arg("weight").none(), nb::arg("bias").none(), nb::arg("size"), nb::arg("epsilon"),
           nb::arg("centred"), nb::arg("spans_all"));
  nb::class_<HeldRope>(m, "Rope", "Cosines and sines (positions, half of what turns).")
      .def("__init__",
           [](HeldRope* made, const Array<const float, 2>& cosines, const Array<const float, 2>& sines, bool pairs) {
             new (made) HeldRope(make_rope(cosines, sines, pairs));
           },
           nb::arg("cosines"), nb::arg("sines"), nb::arg("pairs"));
  nb::class_<HeldRouting>(m, "Routing", "How tokens choose experts.")
      .def("__init__",
           [](HeldRouting* made, const std::string& scores, std::size_t experts, std::size_t chosen,
              std::size_t groups, std::size_t chosen_groups, bool normalized, float least, float scale,
              const std::optional<Array<const float, 1>>& correction) {
             new (made) HeldRouting(
                 make_routing(scores, experts, chosen, groups, chosen_groups, normalized, least, scale, correction));
           },
           nb::kw_only(), nb::arg("scores"), nb::arg("experts"), nb::arg("chosen"), nb::arg("groups"),
           nb::arg("chosen_groups"), nb::arg("normalized"), nb::arg("least"), nb::arg("scale"),
           nb::arg("correction").none());
}

}  // namespace

void define_blocks(nb::module_& m) {
  define_parts(m);
  nb::class_<HeldMixer>(m, "Mixer", "The first half of a block.")
      .def_static(
          "attention",
          [](std::size_t heads, std::size_t key_heads, std::size_t head_size, const Linears& input,
             const HeldLinear& output, const HeldNorm* query_norm, const HeldNorm* key_norm, const HeldRope* rope,
             std::size_t window, float query_scale, float cap, bool fused, bool turns_first) {
            return make_attention(input, output, query_norm, key_norm, rope,
                                  {heads, key_heads, head_size, window, query_scale, cap, fused, turns_first});
          },
          nb::kw_only(), nb::arg("heads"), nb::arg("key_heads"), nb::arg("head_size"), nb::arg("input"),
          nb::arg("output"), nb::arg("query_norm").none(), nb::arg("key_norm").none(), nb::arg("rope").none(),
          nb::arg("window"), nb::arg("query_scale"), nb::arg("cap"), nb::arg("fused"), nb::arg("turns_first"));
  nb::class_<HeldFeedForward>(m, "FeedForward", "The second half of a block.")
      .def_static("gated", &make_gated, nb::kw_only(), nb::arg("activation"), nb::arg("input"), nb::arg("output"))
      .def_static("plain", &make_plain, nb::kw_only(), nb::arg("activation"), nb::arg("numbers"), nb::arg("input"),
                  nb::arg("output"))
      .def_static("experts", &make_experts, nb::kw_only(), nb::arg("routing"), nb::arg("activation"),
                  nb::arg("router"), nb::arg("experts"), nb::arg("has_shared"), nb::arg("shared_gate").none());
}
