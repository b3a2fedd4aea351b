#include "engine/step.hpp"

#include <algorithm>

namespace tersor {

Crew Step::alone() {
  const std::span<const Token> all = everyone_.tokens;
  const std::size_t part = everyone_.part, parts = everyone_.parts;
  OwnSpace& own = pass_.own;
  own.rows.resize(all.size());
  own.tokens.clear();
  std::size_t row = 0, first_row = 0;
  for (std::size_t other = 0; other < parts; ++other) {
    if (other == part) first_row = row;
    for (std::size_t turn = other * kTurnTokens; turn < all.size(); turn += parts * kTurnTokens) {
      for (std::size_t i = turn; i < std::min(turn + kTurnTokens, all.size()); ++i) {
        own.rows[i] = row++;
        if (other == part) own.tokens.push_back(all[i]);
      }
    }
  }
  return {own.tokens, 0, 1, first_row};
}

void Step::run() {
  const std::size_t count = everyone_.tokens.size(), blocks = model_.blocks.size();
  const bool apart = everyone_.parts > 1 && count >= kOwnTokens * everyone_.parts;
  if (apart) pass_.crew = alone();
  std::vector<std::size_t>& wanted_rows = pass_.own.wanted_rows;
  wanted_rows.clear();
  for (const std::size_t index : wanted_) wanted_rows.push_back(apart ? pass_.own.rows[index] : index);
  embed();
  for (std::size_t index = 0; index < blocks; ++index) {
    const Block& block = model_.blocks[index];
    const bool is_last = index + 1 == blocks;
    pass_.block = index;
    block.mixer->remember(pass_, block.mixer_norm);
    pass_.wait_for_all();
    if (is_last && wanted_.size() < count) pass_.crew = keep_wanted();
    if (pass_.crew.tokens.empty()) return;
    finish(block, is_last ? model_.head.site.linears[0] : model_.blocks[index + 1].mixer->first());
  }
  if (pass_.crew.parts < everyone_.parts) pass_.wait_for_all();
  pass_.crew = everyone_;
  predict();
}

void Step::finish(const Block& block, const Linear& next) {
  block.mixer->find(pass_, block.after_mixer, block.feedforward->first());
  block.feedforward->run(pass_, block.feedforward_norm, block.after_feedforward, next);
  if (!block.after_mixer.later) return;
  Joining now = block.after_mixer;
  now.later = false;
  pass_.join_projected(now);
  pass_.wait();
}

void Step::embed() {
  const Range rows = pass_.crew.share(pass_.crew.tokens.size());
  for (std::size_t t = rows.first; t < rows.last; ++t) {
    model_.embedding.row(pass_.crew.tokens[t].id, pass_.rows_of(pass_.space.hidden) + t * pass_.space.hidden.stride);
  }
  pass_.wait();
}

// All threads go on with the tokens whose logits are wanted: nothing reads the others after this. Their rows are the
// first from here on.
Crew Step::keep_wanted() {
  pass_.wait_for_all();
  if (everyone_.part == 0) {
    keep_rows(pass_.space.hidden);
    keep_rows(pass_.space.mixed);
  }
  OwnSpace& own = pass_.own;
  own.tokens.clear();
  for (std::size_t i = 0; i < wanted_.size(); ++i) {
    own.tokens.push_back(everyone_.tokens[wanted_[i]]);
    own.wanted_rows[i] = i;
  }
  pass_.wait_for_all();
  return {own.tokens, everyone_.part, everyone_.parts, 0};
}

// Those rows become the first. They may lie in any order, so all are read before any is written.
void Step::keep_rows(Rows& buffer) {
  float* const kept = pass_.space.inner.values.data();
  const std::vector<std::size_t>& rows = pass_.own.wanted_rows;
  for (std::size_t i = 0; i < rows.size(); ++i) std::copy_n(buffer.row(rows[i]), buffer.stride, kept + i * buffer.stride);
  std::copy_n(kept, rows.size() * buffer.stride, buffer.values.data());
}

void Step::predict() {
  const std::vector<std::size_t>& wanted_rows = pass_.own.wanted_rows;
  const std::size_t vocabulary = model_.vocabulary(), count = wanted_rows.size();
  if (count == 0) return;
  Rows &wanted = pass_.space.wanted, &hidden = pass_.space.hidden;
  const Head& head = model_.head;
  const Range rows = pass_.crew.share(count);
  for (std::size_t i = rows.first; i < rows.last; ++i) {
    std::copy_n(hidden.row(wanted_rows[i]), model_.hidden(), wanted.row(i));
  }
  pass_.wait_for_all();
  const Entered entered = pass_.enter(head.site, {wanted.row(0), wanted.stride, count, head.norm});
  const Linear& linear = head.site.linears[0];
  const Range panels = pass_.crew.share_panels(linear.panels());
  pass_.multiply(linear, 0, entered, {logits_, vocabulary, false}, panels);
  const std::size_t first = panels.first * kPanelRows, last = std::min(panels.last * kPanelRows, vocabulary);
  for (std::size_t i = 0; i < count && first < last; ++i) {
    float* const row = logits_ + i * vocabulary;
    for (std::size_t j = first; head.scale != 1.0f && j < last; ++j) row[j] *= head.scale;
    if (head.cap > 0.0f) pass_.kernels.soft_cap(row + first, last - first, head.cap);
  }
}

}  // namespace tersor
