#include "engine/feedforwards/experts.hpp"

#include <algorithm>
#include <cmath>

namespace tersor {

Experts::Experts(const Routing& routing, Activation activation, const Linear& router, std::vector<Expert> experts,
                 bool has_shared, const Linear* shared_gate)
    : routing_(routing), activation_(activation), experts_(std::move(experts)), has_shared_(has_shared) {
  router_.linears.push_back(router);
  if (shared_gate != nullptr) router_.linears.push_back(*shared_gate);
}

void Experts::declare(Needs& needs) const {
  needs.site(router_);
  for (const Expert& expert : experts_) {
    needs.site({{expert.gate, expert.up}});
    needs.site({{expert.down}});
    Needs::grow(needs.routed_inner, 2 * expert.down.columns);
    Needs::grow(needs.routed_codes, expert.down.integer ? expert.down.packed.chunks() * kChunk : 0);
    Needs::grow(needs.routed_groups, expert.down.integer ? expert.down.packed.groups() : 0);
  }
  Needs::grow(needs.scores, routing_.experts + 1);
  Needs::grow(needs.routed, each());
  Needs::grow(needs.experts, experts_.size());
  Needs::grow(needs.routing_scratch, routing_.experts + routing_.groups);
}

void Experts::run(Pass& pass, const Norm& norm, const Joining& joining, const Linear& next) const {
  const Entered entered = pass.enter_hidden(router_, norm);
  route(pass, entered);
  deal(pass);
  open(pass, entered);
  pass.wait();
  quantize(pass);
  pass.wait();
  close(pass, joining.is_plain() ? pass.space.hidden : pass.space.projected, !joining.is_plain());
  pass.anticipate(next);
  pass.wait();
  if (joining.is_plain() || joining.later) return;
  pass.join_projected(joining);
  pass.wait();
}

// Logits of all experts for all tokens, and from them every token's choices.
void Experts::route(Pass& pass, const Entered& entered) const {
  Rows& scores = pass.space.scores;
  float* const to = pass.rows_of(scores);
  std::size_t column = 0;
  for (const Linear& linear : router_.linears) {
    pass.multiply(linear, 0, entered, {to + column, scores.stride, false}, pass.crew.share_panels(linear.panels()));
    column += linear.rows;
  }
  pass.wait();
  const std::size_t tokens = pass.crew.tokens.size();
  const Range rows = pass.crew.is_few() ? Range{0, tokens} : pass.crew.share(tokens);
  for (std::size_t t = rows.first; t < rows.last; ++t) {
    // All threads look at the logits of a few, so they stay as they are.
    float* const logits = pass.own.routing.data();
    std::copy_n(to + t * scores.stride, routing_.experts, logits);
    routing_.choose(logits, pass.choices() + t * routing_.chosen, logits + routing_.experts);
  }
  if (!pass.crew.is_few()) pass.wait();
}

// Which rows belong to which expert, and which token each of them is: of an expert in the order of tokens.
void Experts::deal(Pass& pass) const {
  const std::size_t tokens = pass.crew.tokens.size(), routed = routing_.experts, chosen = routing_.chosen;
  const Choice* const choices = pass.choices();
  std::vector<std::size_t>& begins = pass.own.begins;
  begins.assign(experts_.size() + 1, 0);
  for (std::size_t i = 0; i < tokens * chosen; ++i) ++begins[choices[i].expert + 1];
  if (has_shared_) begins[routed + 1] = tokens;
  for (std::size_t e = 1; e < begins.size(); ++e) begins[e] += begins[e - 1];
  std::vector<std::size_t>& next = pass.own.next;
  next.assign(begins.begin(), begins.end());
  const Rows& scores = pass.space.scores;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t i = 0; i < chosen; ++i) {
      const Choice& choice = choices[t * chosen + i];
      pass.own.dealt[next[choice.expert]++] = {t, choice.weight};
    }
    if (!has_shared_) continue;
    const bool gated = router_.linears.size() == 2;
    const float logit = gated ? pass.rows_of(pass.space.scores)[t * scores.stride + routed] : 0.0f;
    pass.own.dealt[next[routed]++] = {t, gated ? 1.0f / (1.0f + std::exp(-logit)) : 1.0f};
  }
}

Range Experts::rows_of(const Pass& pass, std::size_t expert) const {
  return {pass.own.begins[expert], pass.own.begins[expert + 1]};
}

// Gate and up of every expert that has tokens, gated.
void Experts::open(Pass& pass, const Entered& entered) const {
  Rows& inner = pass.space.routed_inner;
  float* const all = inner.row(pass.crew.first_row * pass.space.routed);
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    const Expert& expert = experts_[e];
    const Range rows = rows_of(pass, e);
    if (rows.first == rows.last) continue;
    const std::size_t size = expert.down.columns, count = rows.last - rows.first;
    const Range panels = pass.crew.share_panels(expert.gate.panels());
    if (panels.first >= panels.last) continue;
    float* const y = all + rows.first * inner.stride;
    const DealtRow* const dealt = pass.own.dealt.data() + rows.first;
    for (const Linear* linear : {&expert.gate, &expert.up}) {
      const bool is_up = linear == &expert.up;
      if (!is_up || !takes_same(expert.gate, expert.up)) pass.gather(*linear, entered, dealt, count);
      pass.multiply_gathered(*linear, count, {y + (is_up ? size : 0), inner.stride, false}, panels);
    }
    const std::size_t first = panels.first * kPanelRows, last = std::min(panels.last * kPanelRows, size);
    for (std::size_t r = 0; r < count; ++r) {
      float* const row = y + r * inner.stride + first;
      pass.kernels.gate(activation_, row, row + size, last - first);
    }
  }
}

// What was gated, for the last linear of its expert.
void Experts::quantize(Pass& pass) const {
  const Range mine = pass.crew.share(pass.own.begins.back());
  Rows& inner = pass.space.routed_inner;
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    const Linear& down = experts_[e].down;
    const Range rows = rows_of(pass, e);
    if (!down.integer) continue;
    for (std::size_t r = std::max(rows.first, mine.first); r < std::min(rows.last, mine.last); ++r) {
      const float* const row = inner.row(pass.crew.first_row * pass.space.routed + r);
      pass.kernels.quantize(row, inner.stride, 1, down.columns, down.packed.group, down.input,
                            pass.routed_codes(down, rows.first, r - rows.first));
    }
  }
}

// The last linear of every expert, times what it counts for each token: added to `to`, one expert after the other.
void Experts::close(Pass& pass, Rows& to, bool is_empty) const {
  Rows &made = pass.space.made, &inner = pass.space.routed_inner;
  const std::size_t hidden = pass.space.hidden_size, tokens = pass.crew.tokens.size();
  const Range panels = pass.crew.share_panels((hidden + kPanelRows - 1) / kPanelRows);
  const std::size_t first = panels.first * kPanelRows, last = std::min(panels.last * kPanelRows, hidden);
  if (first >= last) return;
  for (std::size_t t = 0; is_empty && t < tokens; ++t) std::fill_n(pass.rows_of(to) + t * to.stride + first, last - first, 0.0f);
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    const Linear& down = experts_[e].down;
    const Range rows = rows_of(pass, e);
    const std::size_t count = rows.last - rows.first;
    if (count == 0) continue;
    const float* const x = inner.row(pass.crew.first_row * pass.space.routed + rows.first);
    const TokenCodes codes = pass.routed_codes(down, rows.first, 0);
    float* const y = pass.rows_of(made);
    pass.multiply(down, {x, inner.stride, {codes.codes, codes.scales, codes.sums, count}}, {y, made.stride, false},
                  panels);
    for (std::size_t r = 0; r < count; ++r) {
      const DealtRow& dealt = pass.own.dealt[rows.first + r];
      float* const sum = pass.rows_of(to) + dealt.token * to.stride;
      const float* const more = y + r * made.stride;
      for (std::size_t i = first; i < last; ++i) sum[i] += dealt.weight * more[i];
    }
  }
}

}  // namespace tersor
