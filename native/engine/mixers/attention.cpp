#include "engine/mixers/attention.hpp"

namespace tersor {

void Attention::declare(Needs& needs) const {
  needs.site(input_);
  needs.site(output_);
  Needs::grow(needs.mixed, shape_.width());
  Needs::grow(needs.found, shape_.heads * shape_.size);
  Needs::grow(needs.scratch, attention_scratch((shape_.size + 15) / 16 * 16));
  Needs::grow(needs.queries, kTurnTokens * shape_.heads / shape_.key_heads);
}

Keeping Attention::keeping(std::size_t context, std::size_t together) const {
  return {kept_positions(context, shape_.window, together), shape_.key_heads, shape_.size};
}

void Attention::remember(Pass& pass, const Norm& norm) const {
  const std::size_t stride = pass.space.mixed.stride;
  const std::vector<Linear>& linears = input_.linears;
  const Entered entered = pass.enter_hidden(input_, norm);
  std::size_t row = 0;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const Linear& linear = linears[i];
    const std::size_t form = linear.integer ? input_.form_of(i) : 0;
    pass.multiply(linear, form, entered, {pass.rows_of(pass.space.mixed) + row, stride, false},
                  pass.crew.share_panels(linear.panels()));
    row += linear.rows;
    if (i + 1 < linears.size()) pass.anticipate(linears[i + 1]);
  }
  pass.anticipate(output_.linears[0]);
  pass.wait();
  rotate_and_store(pass);
}

void Attention::find(Pass& pass, const Joining& joining, const Linear& next) const {
  if (pass.crew.is_few()) {
    attend_few(pass);
  } else {
    attend_many(pass);
  }
  pass.wait();
  const Entered entered =
      pass.enter(output_, {pass.rows_of(pass.space.found), pass.space.found.stride, pass.crew.tokens.size()});
  pass.join(output_, entered, joining, next);
}

void Attention::rotate_and_store(Pass& pass) const {
  const std::size_t tokens = pass.crew.tokens.size(), turned = shape_.heads + shape_.key_heads;
  if (query_norm_.norm && query_norm_.span == HeadNorm::Span::all) {
    const Range units = pass.crew.share(2 * tokens);
    for (std::size_t unit = units.first; unit < units.last; ++unit) turn_all(pass, unit / 2, unit % 2 == 0);
    return;
  }
  const Range units = pass.crew.share(tokens * turned);
  for (std::size_t unit = units.first; unit < units.last; ++unit) {
    const std::size_t head = unit % turned;
    const bool is_query = head < shape_.heads;
    turn(pass, unit / turned, is_query, is_query ? head : head - shape_.heads);
  }
}

void Attention::turn_all(Pass& pass, std::size_t token, bool is_query) const {
  const std::size_t heads = is_query ? shape_.heads : shape_.key_heads;
  float* const x = pass.rows_of(pass.space.mixed) + token * pass.space.mixed.stride +
                   (is_query ? shape_.queries() : shape_.keys()).first;
  (is_query ? query_norm_ : key_norm_).norm.apply(pass.kernels, x, heads * shape_.size, x);
  for (std::size_t head = 0; head < heads; ++head) turn(pass, token, is_query, head);
}

void Attention::turn(Pass& pass, std::size_t token, bool is_query, std::size_t head) const {
  const std::size_t size = shape_.size;
  const Token& at = pass.crew.tokens[token];
  const Kernels& kernels = pass.kernels;
  float* const row = pass.rows_of(pass.space.mixed) + token * pass.space.mixed.stride;
  const Heads heads = is_query ? shape_.queries() : shape_.keys();
  float* const x = row + heads.first + head * heads.step;
  const HeadNorm& by = is_query ? query_norm_ : key_norm_;
  const bool normed = by.norm && by.span != HeadNorm::Span::all;
  const Norm norm = normed && by.span == HeadNorm::Span::own ? by.norm.from(head * size) : by.norm;
  if (normed && !shape_.turns_first) norm.apply(kernels, x, size, x);
  if (rope_.cosines != nullptr) rotate(kernels, x, at.position);
  if (normed && shape_.turns_first) norm.apply(kernels, x, size, x);
  if (is_query) {
    for (std::size_t i = 0; i < size; ++i) x[i] *= shape_.query_scale;
  } else {
    const KeysValues held = pass.cache.head(at.slot, pass.block, head);
    kernels.store(held, at.position % held.capacity, x, row + shape_.values().first + head * shape_.values().step);
  }
}

// Of pairs the first ones come before all second ones, and stay there: a product of a query and a key that are both
// in that order is the same.
void Attention::rotate(const Kernels& kernels, float* x, std::size_t position) const {
  const std::size_t half = rope_.half, angles = position * half;
  if (rope_.pairs) {
    float seconds[kMostDimensions / 2];
    for (std::size_t i = 0; i < half; ++i) {
      seconds[i] = x[2 * i + 1];
      x[i] = x[2 * i];
    }
    for (std::size_t i = 0; i < half; ++i) x[half + i] = seconds[i];
  }
  kernels.rotate(x, rope_.cosines + angles, rope_.sines + angles, half);
}

AttentionRow Attention::row(Pass& pass, std::size_t token, std::size_t head) const {
  Rows &mixed = pass.space.mixed, &found = pass.space.found;
  const std::size_t last = pass.crew.tokens[token].position + 1, window = shape_.window;
  const std::size_t first = window != 0 && last > window ? last - window : 0;
  const Heads queries = shape_.queries();
  return {pass.rows_of(mixed) + token * mixed.stride + queries.first + head * queries.step,
          pass.rows_of(found) + token * found.stride + head * shape_.size, first, last};
}

// Rows of one sequence, the earliest first: positions count from where the lap begins in which it begins to see.
void Attention::attend_rows(Pass& pass, const KeysValues& held, AttentionRow* rows, std::size_t count) const {
  const std::size_t lap = rows[0].first / held.capacity * held.capacity;
  for (std::size_t r = 0; r < count; ++r) {
    rows[r].first -= lap;
    rows[r].last -= lap;
  }
  pass.kernels.attend(held, rows, count, shape_.cap, pass.own.scratch.data());
}

// Shared by heads of queries, because there may be fewer heads of keys than threads.
void Attention::attend_few(Pass& pass) const {
  const std::size_t heads = shape_.heads, together = heads / shape_.key_heads;
  const Range units = pass.crew.share(pass.crew.tokens.size() * heads);
  for (std::size_t unit = units.first; unit < units.last;) {
    const std::size_t t = unit / heads, key_head = unit % heads / together;
    AttentionRow rows[kAttentionRows];
    std::size_t count = 0;
    while (count < kAttentionRows && unit < units.last && unit / heads == t &&
           unit % heads / together == key_head) {
      rows[count++] = row(pass, t, unit++ % heads);
    }
    attend_rows(pass, pass.cache.head(pass.crew.tokens[t].slot, pass.block, key_head), rows, count);
  }
}

// Shared by some tokens of one sequence at a time and heads of keys, in turns, because later tokens see more.
void Attention::attend_many(Pass& pass) const {
  const std::size_t together = shape_.heads / shape_.key_heads;
  const Crew& crew = pass.crew;
  std::vector<AttentionRow>& rows = pass.own.queries;
  std::size_t turn = 0;
  for (std::size_t first = 0; first < crew.tokens.size();) {
    std::size_t last = first + 1;
    while (last < crew.tokens.size() && last - first < kTurnTokens &&
           crew.tokens[last].slot == crew.tokens[first].slot) {
      ++last;
    }
    for (std::size_t key_head = 0; key_head < shape_.key_heads; ++key_head) {
      if (turn++ % crew.parts != crew.part) continue;
      rows.clear();
      for (std::size_t t = first; t < last; ++t) {
        for (std::size_t i = 0; i < together; ++i) rows.push_back(row(pass, t, key_head * together + i));
      }
      attend_rows(pass, pass.cache.head(crew.tokens[first].slot, pass.block, key_head), rows.data(), rows.size());
    }
    first = last;
  }
}

}  // namespace tersor
