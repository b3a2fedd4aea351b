// Python bindings of the engine.
#include "bindings/engine.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "bindings/decoder/builder.hpp"
#include "engine/decoder.hpp"
#include "engine/sample.hpp"

namespace nb = nanobind;

namespace {

using namespace tersor;

using Indices = Array<const std::int64_t, 1>;

Storage storage_named(const std::string& name) {
  if (name == "float32") return Storage::float32;
  if (name == "float16") return Storage::float16;
  if (name == "bfloat16") return Storage::bfloat16;
  if (name == "int16") return Storage::int16;
  check(name == "int8", "a cache is of float32, float16, bfloat16, int16 or int8");
  return Storage::int8;
}

class BoundDecoder {
 public:
  BoundDecoder(const Builder& builder, const std::string& level, std::size_t slots,
               std::size_t capacity, const std::string& storage, std::size_t threads,
               std::size_t most_tokens)
      : kept_(builder.kept),
        positions_(std::min(capacity, builder.positions)),
        decoder_(checked(builder.model, slots, capacity, threads, most_tokens), slots, capacity,
                 storage_named(storage), known(level), threads, most_tokens) {}

  void run(Indices ids, Indices slots, Indices positions, Indices wanted,
           Matrix<float> logits) {
    const std::size_t count = ids.shape(0);
    const Model& model = decoder_.model();
    check(count > 0 && count <= decoder_.most_tokens(), "too many tokens at a time, or none");
    check(slots.shape(0) == count && positions.shape(0) == count,
          "every token has a slot and a position");
    std::vector<Token> tokens(count);
    for (std::size_t i = 0; i < count; ++i) {
      tokens[i] = {index(ids(i), model.vocabulary(), "a token is not in the vocabulary"),
                   index(slots(i), decoder_.cache().slots(), "there is no such slot"),
                   index(positions(i), positions_, "a position lies beyond the context")};
    }
    std::vector<std::size_t> chosen(wanted.shape(0));
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      chosen[i] = index(wanted(i), count, "there is no such token");
    }
    check(chosen.size() <= count && logits.shape(0) == chosen.size() &&
              logits.shape(1) == model.vocabulary(),
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

  static const Model& checked(const Model& model, std::size_t slots, std::size_t capacity, std::size_t threads,
                              std::size_t most_tokens) {
    check(!model.blocks.empty() && !model.head.site.linears.empty(), "the model is not complete");
    check(threads > 0, "at least one thread");
    check(slots > 0 && capacity > 0 && most_tokens > 0, "slots, capacity and most_tokens are at least one");
    return model;
  }

  static const Kernels& known(const std::string& level) {
    const Kernels* kernels = kernels_named(level.c_str());
    check(kernels != nullptr, "this machine cannot run that level of kernels");
    return *kernels;
  }

  Kept kept_;
  std::size_t positions_;
  Decoder decoder_;
};

std::size_t sample_token(Array<const float, 1> logits, float temperature, std::size_t top_k, float top_p,
                         float min_p, double uniform) {
  check(logits.shape(0) > 0, "there are no logits");
  return sample(logits.data(), logits.shape(0), {temperature, top_k, top_p, min_p}, uniform);
}

void define_builder(nb::module_& m) {
  nb::class_<Builder>(m, "DecoderBuilder", "A decoder, put together piece by piece.")
      .def(nb::init<std::size_t>(), nb::kw_only(), nb::arg("hidden"))
      .def("set_embedding", &Builder::set_embedding<std::uint16_t>, nb::arg("table"),
           nb::arg("scale"))
      .def("set_embedding", &Builder::set_embedding<float>, nb::arg("table"), nb::arg("scale"))
      .def("set_packed_embedding", &Builder::set_packed_embedding, nb::arg("weights"),
           nb::arg("scale"))
      .def("add_block", &Builder::add_block, nb::kw_only(), nb::arg("mixer"), nb::arg("feedforward"),
           nb::arg("mixer_norm").none(), nb::arg("mixer_output_norm").none(),
           nb::arg("feedforward_norm").none(), nb::arg("feedforward_output_norm").none(), nb::arg("scale"),
           nb::arg("parallel"))
      .def("set_head", &Builder::set_head, nb::kw_only(), nb::arg("norm"), nb::arg("linear"), nb::arg("scale"),
           nb::arg("cap"));
}

}  // namespace

void define_engine(nb::module_& m) {
  define_weights(m);
  define_blocks(m);
  define_builder(m);
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
