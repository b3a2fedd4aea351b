#include "engine/decoder.hpp"

#include <algorithm>
#include <stdexcept>

#include "engine/step.hpp"
#include "threads/pool.hpp"

namespace tersor {
namespace {

std::vector<Keeping> kept_by(const Model& model, std::size_t context, std::size_t together) {
  std::vector<Keeping> kept;
  for (const Block& block : model.blocks) kept.push_back(block.mixer->keeping(context, together));
  return kept;
}

Needs needs_of(const Model& model) {
  Needs needs;
  needs.hidden = model.hidden();
  for (const Block& block : model.blocks) {
    block.mixer->declare(needs);
    block.feedforward->declare(needs);
  }
  needs.site(model.head.site);
  return needs;
}

}  // namespace

Decoder::Decoder(Model model, std::size_t slots, std::size_t context, Storage storage, const Kernels& kernels,
                 std::size_t threads, std::size_t most_tokens)
    : model_(std::move(model)),
      cache_(slots, kept_by(model_, context, most_tokens), storage),
      kernels_(kernels),
      threads_(threads),
      most_tokens_(most_tokens),
      reached_(slots) {
  space_.make(needs_of(model_), most_tokens, threads);
}

void Decoder::run(const std::vector<Token>& tokens, const std::vector<std::size_t>& wanted,
                  float* logits) {
  const std::lock_guard<std::mutex> mine(running_);
  reach(tokens);  // first: a step that fails may have written
  auto body = [&](std::size_t part, std::size_t parts, Barrier& barrier) {
    Step(model_, {kernels_, space_, cache_, barrier, {tokens, part, parts, 0}}, wanted, logits).run();
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

// Whether some block has not all that a token at `position` sees of earlier ones.
bool Decoder::is_forgotten(std::size_t reached, std::size_t position) const {
  for (std::size_t index = 0; index < model_.blocks.size(); ++index) {
    const std::size_t window = model_.blocks[index].mixer->window(), kept = cache_.kept(index);
    const std::size_t seen = window != 0 && position >= window ? position + 1 - window : 0;
    if (reached > kept && seen < std::min(reached - kept, position)) return true;
  }
  return false;
}

}  // namespace tersor
