#include "engine/decoder.hpp"

#include <algorithm>
#include <stdexcept>

#include "threads/pool.hpp"
#include "memory/sizes.hpp"
#include "engine/step.hpp"

namespace tersor {
namespace {

template <typename Visit>
void each_site(const Model& model, const Visit& visit) {
  for (const Layer& layer : model.layers) {
    visit(layer.attention);
    visit(layer.attention_output);
    visit(layer.mlp);
    visit(layer.mlp_output);
  }
  visit(model.head);
}

// The most groups of a linear whose groups have minima.
std::size_t summed_groups(const Model& model) {
  std::size_t most = 0;
  each_site(model, [&](const Site& site) {
    for (const Linear& linear : site.linears) {
      if (linear.minima.any()) most = std::max(most, linear.packed.groups());
    }
  });
  return most;
}

template <typename T>
void make(AlignedVector<T>& buffer, std::size_t rows, std::size_t width) {
  const std::size_t size = product(rows, width);
  if (size > buffer.max_size()) throw std::bad_alloc();
  buffer.resize(size);
}

}  // namespace

Decoder::Decoder(Model model, Cache cache, const Kernels& kernels, std::size_t threads,
                 std::size_t most_tokens)
    : model_(std::move(model)),
      cache_(std::move(cache)),
      kernels_(kernels),
      threads_(threads),
      most_tokens_(most_tokens),
      own_(threads),
      reached_(cache_.slots()) {
  hidden_stride_ = stride_of(model_.hidden);
  attention_stride_ = stride_of(model_.attention_width());
  attended_stride_ = stride_of(model_.heads * model_.head_size);
  mlp_stride_ = stride_of(2 * model_.mlp_size);
  make(hidden_, most_tokens, hidden_stride_);
  make(projected_, most_tokens, hidden_stride_);
  make(wanted_, most_tokens, hidden_stride_);
  make(attention_, most_tokens, attention_stride_);
  make(attended_, most_tokens, attended_stride_);
  // Holds rows of other buffers too, while some are left out.
  make(mlp_, most_tokens, std::max({mlp_stride_, attention_stride_, hidden_stride_}));
  for (Work& work : own_) {
    reserve(work, kFewTokens);
    make(work.gated, most_tokens, kGatedStride);
    make(work.sums, most_tokens, summed_groups(model_));
    work.tokens.reserve(most_tokens);
    work.rows.reserve(most_tokens);
    work.wanted_rows.reserve(most_tokens);
    work.queries.reserve(kTurnTokens * model_.heads / model_.key_heads);
  }
  reserve(shared_, most_tokens);
  gated_codes_ = {shared_.codes[0]};
}

void Decoder::reserve(Work& work, std::size_t tokens) const {
  std::size_t forms = 0, codes = 0, groups = 0;
  each_site(model_, [&](const Site& site) {
    forms = std::max(forms, site.linears.size());
    for (const Linear& linear : site.linears) {
      if (!linear.integer) continue;
      codes = std::max(codes, linear.packed.chunks() * kChunk);
      groups = std::max(groups, linear.packed.groups());
    }
  });
  make(work.normed, tokens, hidden_stride_);
  work.scratch.resize(attention_scratch((model_.head_size + 15) / 16 * 16));
  work.codes.resize(forms);
  for (Codes& form : work.codes) {
    form.width = codes;
    form.groups = groups;
    make(form.codes, tokens, codes);
    make(form.scales, tokens, groups);
    make(form.sums, tokens, groups);
  }
}

void Decoder::run(const std::vector<Token>& tokens, const std::vector<std::size_t>& wanted,
                  float* logits) {
  const std::lock_guard<std::mutex> mine(running_);
  reach(tokens);  // first: a step that fails may have written
  auto body = [&](std::size_t part, std::size_t parts, Barrier& barrier) {
    Step(*this, tokens, wanted, logits, part, parts, barrier).run();
  };
  in_step(threads_, body);
}

void Decoder::reach(const std::vector<Token>& tokens) {
  std::vector<std::size_t> reached = reached_;
  for (const Token& token : tokens) {
    std::size_t& furthest = reached[token.slot];
    if (token.position == 0) furthest = 0;
    if (is_forgotten(furthest, token.position)) {
      throw std::invalid_argument("a token would see positions that are no longer held");
    }
    furthest = std::max(furthest, token.position + 1);
  }
  reached_ = std::move(reached);
}

// Whether some layer has not all that a token at `position` sees of earlier ones.
bool Decoder::is_forgotten(std::size_t reached, std::size_t position) const {
  for (std::size_t index = 0; index < model_.layers.size(); ++index) {
    const std::size_t window = model_.layers[index].window, kept = cache_.kept(index);
    const std::size_t seen = window != 0 && position >= window ? position + 1 - window : 0;
    if (reached > kept && seen < std::min(reached - kept, position)) return true;
  }
  return false;
}

}  // namespace tersor
