// Python bindings of the engine.
#include "bindings/engine.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/sample.hpp"
#include "bindings/weights.hpp"

namespace nb = nanobind;

namespace {

using namespace tersor;

using Floats1 = Array<const float, 1>;
using Indices = Array<const std::int64_t, 1>;

Storage storage_named(const std::string& name) {
  if (name == "float32") return Storage::float32;
  if (name == "float16") return Storage::float16;
  if (name == "bfloat16") return Storage::bfloat16;
  if (name == "int16") return Storage::int16;
  check(name == "int8", "a cache is of float32, float16, bfloat16, int16 or int8");
  return Storage::int8;
}

Activation activation_named(const std::string& name) {
  check(name == "silu" || name == "gelu_tanh", "an activation is silu or gelu_tanh");
  return name == "silu" ? Activation::silu : Activation::gelu_tanh;
}

// What a model is made of, piece by piece, and then the decoder.
class Builder {
 public:
  Builder(std::size_t hidden, std::size_t heads, std::size_t key_heads, std::size_t head_size,
          std::size_t mlp_size, float epsilon, float query_scale, float attention_cap,
          float final_cap, const std::string& activation) {
    check(hidden > 0 && key_heads > 0 && heads % key_heads == 0 && heads > 0 && head_size > 0 &&
              mlp_size > 0,
          "not the shape of a decoder");
    model.hidden = hidden;
    model.heads = heads;
    model.key_heads = key_heads;
    model.head_size = head_size;
    model.mlp_size = mlp_size;
    model.epsilon = epsilon;
    model.query_scale = query_scale;
    model.attention_cap = attention_cap;
    model.final_cap = final_cap;
    model.activation = activation_named(activation);
    model.vocabulary = 0;
    model.embedding_scale = 1.0f;
  }

  template <typename Value>
  void set_embedding(Array<const Value, 2> table, float scale) {
    check(table.shape(1) == model.hidden, "an embedding is as wide as the model");
    model.vocabulary = table.shape(0);
    model.embedding_scale = scale;
    kept.push_back(nb::cast(table));
    if constexpr (std::is_same_v<Value, float>) {
      model.wide_embedding = table.data();
    } else {
      model.narrow_embedding = table.data();
    }
  }

  void set_packed_embedding(const HeldLinear& weights, float scale) {
    const Linear& linear = weights.linear;
    check(linear.columns == model.hidden && linear.packed.codes != nullptr,
          "a packed embedding is as wide as the model");
    model.vocabulary = linear.rows;
    model.embedding_scale = scale;
    model.packed_embedding = linear;
    kept.insert(kept.end(), weights.kept.begin(), weights.kept.end());
  }

  void add_rope(Array<const float, 2> cosines, Array<const float, 2> sines) {
    const std::size_t half = cosines.shape(1);
    check(sines.shape(0) == cosines.shape(0) && sines.shape(1) == half &&
              2 * half <= model.head_size,
          "cosines and sines are (positions, half of what turns)");
    kept.push_back(nb::cast(cosines));
    kept.push_back(nb::cast(sines));
    model.ropes.push_back({cosines.data(), sines.data(), cosines.shape(0), half});
  }

  void add_layer(Floats1 attention_norm, const std::vector<HeldLinear*>& attention,
                 std::optional<Floats1> query_norm, std::optional<Floats1> key_norm,
                 const HeldLinear& attention_output, std::optional<Floats1> attention_output_norm,
                 Floats1 mlp_norm, const std::vector<HeldLinear*>& mlp, const HeldLinear& mlp_output,
                 std::optional<Floats1> mlp_output_norm, std::size_t window, std::size_t rope) {
    check(rope < model.ropes.size(), "there is no such rope");
    const std::size_t size = model.mlp_size;
    Layer layer = {};
    layer.attention_norm = norm(attention_norm, model.hidden);
    layer.query_norm = norm(query_norm, model.head_size);
    layer.key_norm = norm(key_norm, model.head_size);
    layer.attention_output_norm = norm(attention_output_norm, model.hidden);
    layer.mlp_norm = norm(mlp_norm, model.hidden);
    layer.mlp_output_norm = norm(mlp_output_norm, model.hidden);
    layer.attention = site({attention.begin(), attention.end()}, model.hidden, model.attention_width());
    layer.attention_output =
        site({&attention_output}, model.heads * model.head_size, model.hidden);
    layer.mlp = site({mlp.begin(), mlp.end()}, model.hidden, 2 * size);
    layer.mlp_output = site({&mlp_output}, size, model.hidden);
    check(mlp.size() == 1 ? size % kPanelRows == 0 : mlp.size() == 2 && mlp[0]->linear.rows == size,
          "gate and up are one linear of whole panels each, or two");
    layer.window = window;
    layer.rope = rope;
    model.layers.push_back(std::move(layer));
  }

  void set_head(Floats1 final_norm, const HeldLinear& head) {
    check(model.vocabulary > 0, "the embedding comes first");
    model.final_norm = norm(final_norm, model.hidden);
    model.head = site({&head}, model.hidden, model.vocabulary);
  }

  Model model = {};
  std::vector<nb::object> kept;

 private:
  const float* norm(const std::optional<Floats1>& weight, std::size_t size) {
    if (!weight) return nullptr;
    check(weight->shape(0) == size, "a norm has one value for every element");
    kept.push_back(nb::cast(*weight));
    return weight->data();
  }

  Site site(const std::vector<const HeldLinear*>& parts, std::size_t columns, std::size_t rows) {
    Site made;
    std::size_t found = 0;
    for (const HeldLinear* part : parts) {
      check(part->linear.columns == columns, "a linear does not fit its input");
      found += part->linear.rows;
      made.linears.push_back(part->linear);
      kept.insert(kept.end(), part->kept.begin(), part->kept.end());
    }
    check(!parts.empty() && found == rows, "linears do not add up to their output");
    return made;
  }
};

class BoundDecoder {
 public:
  BoundDecoder(const Builder& builder, const std::string& level, std::size_t slots,
               std::size_t capacity, const std::string& storage, std::size_t threads,
               std::size_t most_tokens)
      : kept_(builder.kept),
        positions_(capacity),
        decoder_(checked(builder.model, threads), made(builder.model, slots, capacity, storage, most_tokens),
                 known(level), threads, most_tokens) {
    for (const Rope& rope : builder.model.ropes) positions_ = std::min(positions_, rope.positions);
  }

  void run(Indices ids, Indices slots, Indices positions, Indices wanted,
           Matrix<float> logits) {
    const std::size_t count = ids.shape(0);
    const Model& model = decoder_.model();
    check(count > 0 && count <= decoder_.most_tokens(), "too many tokens at a time, or none");
    check(slots.shape(0) == count && positions.shape(0) == count,
          "every token has a slot and a position");
    std::vector<Token> tokens(count);
    for (std::size_t i = 0; i < count; ++i) {
      tokens[i] = {index(ids(i), model.vocabulary, "a token is not in the vocabulary"),
                   index(slots(i), decoder_.cache().slots(), "there is no such slot"),
                   index(positions(i), positions_, "a position lies beyond the context")};
    }
    std::vector<std::size_t> chosen(wanted.shape(0));
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      chosen[i] = index(wanted(i), count, "there is no such token");
    }
    check(chosen.size() <= count && logits.shape(0) == chosen.size() &&
              logits.shape(1) == model.vocabulary,
          "logits are (wanted, vocabulary)");
    float* const to = logits.data();
    nb::gil_scoped_release release;
    decoder_.run(tokens, chosen, to);
  }

  std::size_t cache_bytes() const { return decoder_.cache().bytes(); }

 private:
  static std::size_t index(std::int64_t value, std::size_t count, const char* what) {
    check(value >= 0 && static_cast<std::size_t>(value) < count, what);
    return static_cast<std::size_t>(value);
  }

  static const Model& checked(const Model& model, std::size_t threads) {
    check(!model.layers.empty() && !model.head.linears.empty(), "the model is not complete");
    check(model.head_size <= kMostDimensions, "heads have more dimensions than the engine holds");
    check(threads > 0, "at least one thread");
    return model;
  }

  static Cache made(const Model& model, std::size_t slots, std::size_t capacity,
                    const std::string& storage, std::size_t most_tokens) {
    check(slots > 0 && capacity > 0 && most_tokens > 0, "slots, capacity and most_tokens are at least one");
    std::vector<std::size_t> kept;
    for (const Layer& layer : model.layers) kept.push_back(kept_positions(capacity, layer.window, most_tokens));
    return Cache(slots, kept, model.key_heads, model.head_size, storage_named(storage));
  }

  static const Kernels& known(const std::string& level) {
    const Kernels* kernels = kernels_named(level.c_str());
    check(kernels != nullptr, "this machine cannot run that level of kernels");
    return *kernels;
  }

  std::vector<nb::object> kept_;
  std::size_t positions_;
  Decoder decoder_;
};

std::size_t sample_token(Floats1 logits, float temperature, std::size_t top_k, float top_p,
                         float min_p, double uniform) {
  check(logits.shape(0) > 0, "there are no logits");
  return sample(logits.data(), logits.shape(0), {temperature, top_k, top_p, min_p}, uniform);
}

}  // namespace

void define_engine(nb::module_& m) {
  define_weights(m);
  nb::class_<Builder>(m, "DecoderBuilder", "A decoder, put together piece by piece.")
      .def(nb::init<std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, float, float,
                    float, float, const std::string&>(),
           nb::kw_only(), nb::arg("hidden"), nb::arg("heads"), nb::arg("key_heads"), nb::arg("head_size"),
           nb::arg("mlp_size"), nb::arg("epsilon"), nb::arg("query_scale"),
           nb::arg("attention_cap"), nb::arg("final_cap"), nb::arg("activation"))
      .def("set_embedding", &Builder::set_embedding<std::uint16_t>, nb::arg("table"),
           nb::arg("scale"))
      .def("set_embedding", &Builder::set_embedding<float>, nb::arg("table"), nb::arg("scale"))
      .def("set_packed_embedding", &Builder::set_packed_embedding, nb::arg("weights"),
           nb::arg("scale"))
      .def("add_rope", &Builder::add_rope, nb::arg("cosines"), nb::arg("sines"))
      .def("add_layer", &Builder::add_layer, nb::kw_only(), nb::arg("attention_norm"), nb::arg("attention"),
           nb::arg("query_norm").none(), nb::arg("key_norm").none(), nb::arg("attention_output"),
           nb::arg("attention_output_norm").none(), nb::arg("mlp_norm"), nb::arg("mlp"),
           nb::arg("mlp_output"), nb::arg("mlp_output_norm").none(), nb::arg("window"),
           nb::arg("rope"))
      .def("set_head", &Builder::set_head, nb::arg("final_norm"), nb::arg("head"));
  nb::class_<BoundDecoder>(m, "Decoder", "The forward pass of a decoder.")
      .def(nb::init<const Builder&, const std::string&, std::size_t, std::size_t,
                    const std::string&, std::size_t, std::size_t>(),
           nb::kw_only(), nb::arg("builder"), nb::arg("level"), nb::arg("slots"), nb::arg("capacity"),
           nb::arg("storage"), nb::arg("threads"), nb::arg("most_tokens"))
      .def("run", &BoundDecoder::run, nb::arg("ids"), nb::arg("slots"), nb::arg("positions"),
           nb::arg("wanted"), nb::arg("logits"),
           "Run tokens (count,) and write the logits (wanted, vocabulary) of some of them. Layers with a "
           "window hold what it sees of most_tokens tokens: a slot whose furthest position lies further "
           "back than those goes on from position 0 only.")
      .def_prop_ro("cache_bytes", &BoundDecoder::cache_bytes);
  m.def("sample", &sample_token, nb::arg("logits"), nb::arg("temperature"), nb::arg("top_k"),
        nb::arg("top_p"), nb::arg("min_p"), nb::arg("uniform"), "A token drawn from logits.");
}
