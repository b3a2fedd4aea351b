#include "decoder.hpp"

#include <algorithm>

#include "../pool.hpp"
#include "step.hpp"

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

}  // namespace

Decoder::Decoder(Model model, Cache cache, const Kernels& kernels, std::size_t threads,
                 std::size_t most_tokens)
    : model_(std::move(model)),
      cache_(std::move(cache)),
      kernels_(kernels),
      threads_(threads),
      most_tokens_(most_tokens),
      own_(threads) {
  hidden_stride_ = stride_of(model_.hidden);
  attention_stride_ = stride_of(model_.attention_width());
  attended_stride_ = stride_of(model_.heads * model_.head_size);
  mlp_stride_ = stride_of(2 * model_.mlp_size);
  hidden_.resize(most_tokens * hidden_stride_);
  projected_.resize(most_tokens * hidden_stride_);
  wanted_.resize(most_tokens * hidden_stride_);
  attention_.resize(most_tokens * attention_stride_);
  attended_.resize(most_tokens * attended_stride_);
  mlp_.resize(most_tokens * mlp_stride_);
  for (Work& work : own_) {
    reserve(work, kFewTokens);
    work.gated.resize(most_tokens * kGatedStride);
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
  work.normed.resize(tokens * hidden_stride_);
  work.scratch.resize(attention_scratch((model_.head_size + 15) / 16 * 16));
  work.codes.resize(forms);
  for (Codes& form : work.codes) {
    form.width = codes;
    form.groups = groups;
    form.codes.resize(tokens * codes);
    form.scales.resize(tokens * groups);
    form.sums.resize(tokens * groups);
  }
}

void Decoder::run(const std::vector<Token>& tokens, const std::vector<std::size_t>& wanted,
                  float* logits) {
  const std::lock_guard<std::mutex> mine(running_);
  auto body = [&](std::size_t part, std::size_t parts, Barrier& barrier) {
    Step(*this, tokens, wanted, logits, part, parts, barrier).run();
  };
  in_step(threads_, body);
}

}  // namespace tersor
