#include "engine/step.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/group_sums.hpp"
#include "kernels/one_parameter.hpp"

namespace tersor {
namespace {

float from_bfloat16(std::uint16_t half) {
  const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// One row of packed weights as floats.
void decode_row(const Linear& linear, std::size_t row, float* to) {
  const PackedWeights& w = linear.packed;
  const std::size_t panel = row / kPanelRows, lane = row % kPanelRows, step = w.chunk_step(panel);
  const std::uint8_t* chunk = w.codes + w.first_chunk(panel);
  for (std::size_t g = 0; g < w.groups(); ++g) {
    const std::size_t parameter = (panel * w.groups() + g) * kPanelRows + lane;
    const float scale = number_at(w.scales, parameter);
    const float minimum = linear.minima.any() ? number_at(linear.minima, parameter) : 0.0f;
    const std::int32_t zero = w.zeros == nullptr ? w.zero : w.zeros[parameter];
    const std::size_t last = std::min((g + 1) * w.group, w.columns);
    for (std::size_t k = g * w.group; k < last; k += kChunk, chunk += step) {
      for (std::size_t j = 0; j < std::min(kChunk, last - k); ++j) {
        const int code = static_cast<int>(code_at(chunk, w.bits, lane, j));
        const float level = linear.values == nullptr ? static_cast<float>(code - zero) : linear.values[code];
        to[k + j] = level * scale + minimum;
      }
    }
  }
}

}  // namespace

Crew Step::alone() const {
  const std::span<const Token> all = everyone_.tokens;
  const std::size_t part = everyone_.part, parts = everyone_.parts;
  own_.rows.resize(all.size());
  own_.tokens.clear();
  std::size_t row = 0, first_row = 0;
  for (std::size_t other = 0; other < parts; ++other) {
    if (other == part) first_row = row;
    for (std::size_t turn = other * kTurnTokens; turn < all.size(); turn += parts * kTurnTokens) {
      for (std::size_t i = turn; i < std::min(turn + kTurnTokens, all.size()); ++i) {
        own_.rows[i] = row++;
        if (other == part) own_.tokens.push_back(all[i]);
      }
    }
  }
  return {own_.tokens, 0, 1, first_row};
}

void Step::run() {
  const std::size_t count = everyone_.tokens.size(), layers = model_.layers.size();
  const bool apart = everyone_.parts > 1 && count >= kOwnTokens * everyone_.parts;
  Crew crew = apart ? alone() : everyone_;
  std::vector<std::size_t>& wanted_rows = own_.wanted_rows;
  wanted_rows.clear();
  for (const std::size_t index : wanted_) wanted_rows.push_back(apart ? own_.rows[index] : index);
  embed(crew);
  for (std::size_t index = 0; index < layers; ++index) {
    const Layer& layer = model_.layers[index];
    const bool is_last = index + 1 == layers;
    remember(crew, layer, index);
    if (is_last && wanted_.size() < count) crew = keep_wanted(wanted_rows);
    if (crew.tokens.empty()) return;
    transform(crew, layer, index, is_last ? model_.head.linears[0] : model_.layers[index + 1].attention.linears[0]);
  }
  if (crew.parts < everyone_.parts) barrier_.wait();
  predict(wanted_rows);
}

void Step::embed(const Crew& crew) {
  const std::size_t size = model_.hidden;
  const Range rows = crew.share(crew.tokens.size());
  for (std::size_t t = rows.first; t < rows.last; ++t) {
    float* const to = crew.rows_of(all_.hidden_, all_.hidden_stride_) + t * all_.hidden_stride_;
    const std::size_t id = crew.tokens[t].id, from = id * size;
    if (model_.wide_embedding != nullptr) {
      std::copy_n(model_.wide_embedding + from, size, to);
    } else if (model_.narrow_embedding != nullptr) {
      for (std::size_t i = 0; i < size; ++i) to[i] = from_bfloat16(model_.narrow_embedding[from + i]);
    } else {
      decode_row(model_.packed_embedding, id, to);
    }
    for (std::size_t i = 0; i < size; ++i) to[i] *= model_.embedding_scale;
  }
  wait(crew);
}

void Step::remember(const Crew& crew, const Layer& layer, std::size_t index) {
  const std::size_t width = all_.attention_stride_, stride = all_.hidden_stride_;
  const std::vector<Linear>& linears = layer.attention.linears;
  float* const hidden = crew.rows_of(all_.hidden_, stride);
  const Entered entered =
      enter(crew, layer.attention, {hidden, stride, crew.tokens.size(), layer.attention_norm, false});
  std::size_t row = 0;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const Linear& linear = linears[i];
    const std::size_t form = linear.integer ? layer.attention.form_of(i) : 0;
    multiply(crew, linear, form, entered, {crew.rows_of(all_.attention_, width) + row, width, false},
             crew.share_panels(linear.panels()));
    row += linear.rows;
    if (i + 1 < linears.size()) anticipate(crew, linears[i + 1]);
  }
  anticipate(crew, layer.attention_output.linears[0]);
  wait(crew);
  rotate_and_store(crew, layer, index);
  barrier_.wait();
}

void Step::transform(const Crew& crew, const Layer& layer, std::size_t index, const Linear& next) {
  const std::size_t stride = all_.attended_stride_;
  attend(crew, layer, index);
  wait(crew);
  float* const found = crew.rows_of(all_.attended_, stride);
  const Entered attended = enter(crew, layer.attention_output, {found, stride, crew.tokens.size(), nullptr, false});
  project(crew, layer.attention_output, attended, layer.attention_output_norm, layer.mlp.linears[0]);
  project(crew, layer.mlp_output, gated_mlp(crew, layer), layer.mlp_output_norm, next);
}

// All threads go on with the tokens whose logits are wanted: nothing reads the others after this. Their rows are the
// first from here on.
Crew Step::keep_wanted(std::vector<std::size_t>& wanted_rows) const {
  barrier_.wait();
  if (everyone_.part == 0) {
    keep_rows(all_.hidden_, all_.hidden_stride_, wanted_rows);
    keep_rows(all_.attention_, all_.attention_stride_, wanted_rows);
  }
  own_.tokens.clear();
  for (std::size_t i = 0; i < wanted_.size(); ++i) {
    own_.tokens.push_back(everyone_.tokens[wanted_[i]]);
    wanted_rows[i] = i;
  }
  barrier_.wait();
  return {own_.tokens, everyone_.part, everyone_.parts, 0};
}

// Those rows become the first. They may lie in any order, so all are read before any is written.
void Step::keep_rows(AlignedVector<float>& buffer, std::size_t stride, const std::vector<std::size_t>& rows) const {
  float* const kept = all_.mlp_.data();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(buffer.data() + rows[i] * stride, stride, kept + i * stride);
  }
  std::copy_n(kept, rows.size() * stride, buffer.data());
}

// hidden += linear(x), or its norm.
void Step::project(const Crew& crew, const Site& site, const Entered& entered, const float* output_norm,
                   const Linear& next) {
  const std::size_t size = model_.hidden, step = all_.hidden_stride_, count = crew.tokens.size();
  const Linear& linear = site.linears[0];
  float* const projected = crew.rows_of(all_.projected_, step);
  float* const hidden = crew.rows_of(all_.hidden_, step);
  const Range panels = crew.share_panels(linear.panels());
  if (output_norm == nullptr) {
    multiply(crew, linear, 0, entered, {hidden, step, true}, panels);
    anticipate(crew, next);
  } else {
    multiply(crew, linear, 0, entered, {projected, step, false}, panels);
    anticipate(crew, next);
    wait(crew);
    const Range rows = crew.share(count);
    for (std::size_t t = rows.first; t < rows.last; ++t) {
      float* const row = projected + t * step;
      kernels_.norm(row, output_norm, size, model_.epsilon, row);
      kernels_.add(hidden + t * step, row, size);
    }
  }
  wait(crew);
}

void Step::predict(const std::vector<std::size_t>& wanted_rows) {
  const std::size_t size = model_.hidden, stride = all_.hidden_stride_, count = wanted_rows.size();
  if (count == 0) return;
  const Crew& crew = everyone_;
  const Range rows = crew.share(count);
  for (std::size_t i = rows.first; i < rows.last; ++i) {
    std::memcpy(all_.wanted_.data() + i * stride, all_.hidden_.data() + wanted_rows[i] * stride,
                size * sizeof(float));
  }
  barrier_.wait();
  const Entered entered = enter(crew, model_.head, {all_.wanted_.data(), stride, count, model_.final_norm, false});
  const Linear& linear = model_.head.linears[0];
  const Range panels = crew.share_panels(linear.panels());
  multiply(crew, linear, 0, entered, {logits_, model_.vocabulary, false}, panels);
  if (model_.final_cap > 0.0f) {
    const std::size_t first = panels.first * kPanelRows;
    const std::size_t last = std::min(panels.last * kPanelRows, model_.vocabulary);
    for (std::size_t i = 0; i < count && first < last; ++i) {
      kernels_.soft_cap(logits_ + i * model_.vocabulary + first, last - first, model_.final_cap);
    }
  }
}

void Step::anticipate(const Crew& crew, const Linear& linear) const {
  if (!linear.integer || !crew.is_few()) return;
  constexpr std::size_t kCodes = 4096, kScales = 1024;
  const PackedWeights& w = linear.packed;
  const std::size_t panel = crew.share_panels(linear.panels()).first;
  const std::uint8_t* const codes = w.codes + w.first_chunk(panel);
  for (std::size_t i = 0; i < kCodes; i += 64) __builtin_prefetch(codes + i);
  const char* const scales = w.scales.place_of(panel * w.groups() * kPanelRows);
  for (std::size_t i = 0; i < kScales; i += 64) __builtin_prefetch(scales + i);
}

Step::Entered Step::enter(const Crew& crew, const Site& site, const Entering& x) {
  const bool few = x.tokens < kFewTokens;
  Decoder::Work& work = few ? own_ : all_.shared_;
  enter_rows(crew, site, x, work, few ? Range{0, x.tokens} : crew.share(x.tokens));
  if (!few) wait(crew);
  if (x.norm == nullptr) return {x.rows, x.stride, x.tokens, &work.codes};
  return {crew.rows_of(work.normed, all_.hidden_stride_), all_.hidden_stride_, x.tokens, &work.codes};
}

void Step::enter_rows(const Crew& crew, const Site& site, const Entering& x, Decoder::Work& work, Range rows) {
  const std::size_t columns = site.columns();
  for (std::size_t t = rows.first; t < rows.last; ++t) {
    float* row = x.rows + t * x.stride;
    if (x.gated) kernels_.gate(model_.activation, row, row + columns, columns);
    if (x.norm != nullptr) {
      float* const normed = crew.rows_of(work.normed, all_.hidden_stride_) + t * all_.hidden_stride_;
      kernels_.norm(row, x.norm, columns, model_.epsilon, normed);
      row = normed;
    }
    for (std::size_t i = 0; i < site.linears.size(); ++i) {
      if (!site.linears[i].integer || site.form_of(i) != i) continue;
      const PackedWeights& packed = site.linears[i].packed;
      kernels_.quantize(row, x.stride, 1, columns, packed.group, site.linears[i].input,
                        codes_of(crew, work.codes[i], packed, t));
    }
  }
}

// Threads with tokens of their own may be at different linears, so where their codes begin depends on none.
TokenCodes Step::codes_of(const Crew& crew, Decoder::Codes& codes, const PackedWeights& weights,
                          std::size_t token) const {
  const std::size_t parameter = crew.first_row * codes.groups + token * weights.groups();
  return {codes.codes.data() + crew.first_row * codes.width + token * weights.chunks() * kChunk,
          codes.scales.data() + parameter, codes.sums.data() + parameter};
}

void Step::multiply(const Crew& crew, const Linear& linear, std::size_t form, const Entered& entered,
                    const Output& out, Range panels) {
  if (panels.first >= panels.last) return;
  if (linear.integer) {
    const TokenCodes codes = codes_of(crew, (*entered.codes)[form], linear.packed, 0);
    const QuantizedTokens tokens = {codes.codes, codes.scales, codes.sums, entered.tokens};
    kernels_.linear(linear.packed, tokens, out, panels.first, panels.last);
    if (linear.minima.any()) add_minima(linear, tokens, out, panels);
  } else {
    kernels_.float_linear(linear.floats(), entered.x, entered.stride, entered.tokens, out,
                          panels.first, panels.last);
    if (linear.minima.any()) add_minima(linear, entered, out, panels);
  }
  if (linear.bias == nullptr) return;
  const std::size_t first = panels.first * kPanelRows;
  const std::size_t last = std::min(panels.last * kPanelRows, linear.rows);
  for (std::size_t t = 0; t < entered.tokens; ++t) {
    kernels_.add(out.row(t) + first, linear.bias + first, last - first);
  }
}

void Step::add_minima(const Linear& linear, const QuantizedTokens& tokens, const Output& out, Range panels) {
  float* const sums = own_.sums.data();
  const std::size_t groups = linear.packed.groups();
  sum_groups(tokens, groups, sums);
  kernels_.float_linear(linear.minima_of_groups(), sums, groups, tokens.tokens, {out.y, out.stride, true},
                        panels.first, panels.last);
}

void Step::add_minima(const Linear& linear, const Entered& entered, const Output& out, Range panels) {
  float* const sums = own_.sums.data();
  const std::size_t groups = linear.packed.groups();
  sum_groups(entered.x, entered.stride, entered.tokens, linear.columns, linear.packed.group, sums);
  kernels_.float_linear(linear.minima_of_groups(), sums, groups, entered.tokens, {out.y, out.stride, true},
                        panels.first, panels.last);
}

}  // namespace tersor
