// The attention of a step: from queries, keys and values to what the heads find.
#include "engine/step.hpp"

namespace tersor {
// Queries of all heads, then keys, then values lie in a row of `attention_`.
void Step::rotate_and_store(const Crew& crew, const Layer& layer, std::size_t index) {
  const std::size_t size = model_.head_size, turned = model_.heads + model_.key_heads;
  const Rope& rope = model_.ropes[layer.rope];
  const Range units = crew.share(crew.tokens.size() * turned);
  for (std::size_t unit = units.first; unit < units.last; ++unit) {
    const std::size_t t = unit / turned, head = unit % turned;
    const Token& token = crew.tokens[t];
    float* const row = crew.rows_of(all_.attention_, all_.attention_stride_) + t * all_.attention_stride_;
    float* const x = row + head * size;
    const bool is_query = head < model_.heads;
    const float* const norm = is_query ? layer.query_norm : layer.key_norm;
    if (norm != nullptr) kernels_.norm(x, norm, size, model_.epsilon, x);
    const std::size_t angles = token.position * rope.half;
    kernels_.rotate(x, rope.cosines + angles, rope.sines + angles, rope.half);
    if (is_query) {
      for (std::size_t i = 0; i < size; ++i) x[i] *= model_.query_scale;
    } else {
      const std::size_t key_head = head - model_.heads;
      const float* const value = row + (turned + key_head) * size;
      const KeysValues held = all_.cache_.head(token.slot, index, key_head);
      kernels_.store(held, token.position % held.capacity, x, value);
    }
  }
}

AttentionRow Step::attention_row(const Crew& crew, const Layer& layer, std::size_t token, std::size_t head) {
  const std::size_t size = model_.head_size, last = crew.tokens[token].position + 1;
  const std::size_t first = layer.window != 0 && last > layer.window ? last - layer.window : 0;
  const std::size_t query = token * all_.attention_stride_ + head * size;
  const std::size_t output = token * all_.attended_stride_ + head * size;
  return {crew.rows_of(all_.attention_, all_.attention_stride_) + query,
          crew.rows_of(all_.attended_, all_.attended_stride_) + output, first, last};
}

// Rows of one sequence, the earliest first: positions count from where the lap begins in which it begins to see.
void Step::attend_rows(const KeysValues& held, AttentionRow* rows, std::size_t count) {
  const std::size_t lap = rows[0].first / held.capacity * held.capacity;
  for (std::size_t r = 0; r < count; ++r) {
    rows[r].first -= lap;
    rows[r].last -= lap;
  }
  kernels_.attend(held, rows, count, model_.attention_cap, own_.scratch.data());
}

void Step::attend(const Crew& crew, const Layer& layer, std::size_t index) {
  if (crew.is_few()) {
    attend_few(crew, layer, index);
  } else {
    attend_many(crew, layer, index);
  }
}

// Shared by heads of queries, because there may be fewer heads of keys than threads.
void Step::attend_few(const Crew& crew, const Layer& layer, std::size_t index) {
  const std::size_t together = model_.heads / model_.key_heads;
  const Range units = crew.share(crew.tokens.size() * model_.heads);
  for (std::size_t unit = units.first; unit < units.last;) {
    const std::size_t t = unit / model_.heads, head = unit % model_.heads;
    const std::size_t key_head = head / together;
    AttentionRow rows[kAttentionRows];
    std::size_t count = 0;
    while (count < kAttentionRows && unit < units.last && unit / model_.heads == t &&
           unit % model_.heads / together == key_head) {
      rows[count++] = attention_row(crew, layer, t, unit++ % model_.heads);
    }
    attend_rows(all_.cache_.head(crew.tokens[t].slot, index, key_head), rows, count);
  }
}

// Shared by some tokens of one sequence at a time and heads of keys, in turns, because later tokens see more.
void Step::attend_many(const Crew& crew, const Layer& layer, std::size_t index) {
  const std::size_t together = model_.heads / model_.key_heads;
  std::vector<AttentionRow>& rows = own_.queries;
  std::size_t turn = 0;
  for (std::size_t first = 0; first < crew.tokens.size();) {
    std::size_t last = first + 1;
    while (last < crew.tokens.size() && last - first < kTurnTokens &&
           crew.tokens[last].slot == crew.tokens[first].slot) {
      ++last;
    }
    for (std::size_t key_head = 0; key_head < model_.key_heads; ++key_head) {
      if (turn++ % crew.parts != crew.part) continue;
      rows.clear();
      for (std::size_t t = first; t < last; ++t) {
        for (std::size_t i = 0; i < together; ++i) {
          rows.push_back(attention_row(crew, layer, t, key_head * together + i));
        }
      }
      attend_rows(all_.cache_.head(crew.tokens[first].slot, index, key_head), rows.data(), rows.size());
    }
    first = last;
  }
}

}  // namespace tersor
