// Python bindings of mixers and feed-forwards.
#include "bindings/decoder/blocks.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

#include "engine/feedforwards/gated.hpp"
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

HeldRope make_rope(const Array<const float, 2>& cosines, const Array<const float, 2>& sines) {
  const std::size_t half = cosines.shape(1);
  check(sines.shape(0) == cosines.shape(0) && sines.shape(1) == half,
        "cosines and sines are (positions, half of what turns)");
  return {{cosines.data(), sines.data(), cosines.shape(0), half}, {nb::cast(cosines), nb::cast(sines)}};
}

Activation activation_named(const std::string& name) {
  check(name == "silu" || name == "gelu_tanh", "an activation is silu or gelu_tanh");
  return name == "silu" ? Activation::silu : Activation::gelu_tanh;
}

HeldMixer make_attention(std::size_t heads, std::size_t key_heads, std::size_t head_size, const Linears& input,
                         const HeldLinear& output, const HeldNorm* query_norm, const HeldNorm* key_norm,
                         const HeldRope* rope, std::size_t window, float query_scale, float cap) {
  check(key_heads > 0 && heads > 0 && heads % key_heads == 0 && head_size > 0, "not the shape of attention");
  check(head_size <= kMostDimensions, "heads have more dimensions than the engine holds");
  check(rope == nullptr || 2 * rope->rope.half <= head_size, "more turns than a head has");
  const Attention::Shape shape = {heads, key_heads, head_size, window, query_scale, cap};
  HeldMixer made = {nullptr, output.linear.rows};
  Site in = site_of(constant(input), made.hidden, shape.width(), made.kept);
  Site out = site_of({&output}, heads * head_size, made.hidden, made.kept);
  const Norm of_queries = norm_of(query_norm, head_size, made.kept);
  const Norm of_keys = norm_of(key_norm, head_size, made.kept);
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

}  // namespace

void define_blocks(nb::module_& m) {
  nb::class_<HeldNorm>(m, "Norm", "A norm of rows, and the arrays that it points into.")
      .def("__init__",
           [](HeldNorm* made, const Array<const float, 1>& weight, float epsilon) {
             new (made) HeldNorm{{weight.data(), epsilon}, weight.shape(0), {nb::cast(weight)}};
           },
           nb::kw_only(), nb::arg("weight"), nb::arg("epsilon"));
  nb::class_<HeldRope>(m, "Rope", "Cosines and sines (positions, half of what turns).")
      .def("__init__",
           [](HeldRope* made, const Array<const float, 2>& cosines, const Array<const float, 2>& sines) {
             new (made) HeldRope(make_rope(cosines, sines));
           },
           nb::arg("cosines"), nb::arg("sines"));
  nb::class_<HeldMixer>(m, "Mixer", "The first half of a block.")
      .def_static("attention", &make_attention, nb::kw_only(), nb::arg("heads"), nb::arg("key_heads"),
                  nb::arg("head_size"), nb::arg("input"), nb::arg("output"), nb::arg("query_norm").none(),
                  nb::arg("key_norm").none(), nb::arg("rope").none(), nb::arg("window"), nb::arg("query_scale"),
                  nb::arg("cap"));
  nb::class_<HeldFeedForward>(m, "FeedForward", "The second half of a block.")
      .def_static("gated", &make_gated, nb::kw_only(), nb::arg("activation"), nb::arg("input"), nb::arg("output"));
}
