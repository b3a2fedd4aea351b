#include "engine/working/workspace.hpp"

#include <new>

#include "memory/sizes.hpp"

namespace tersor {
namespace {

template <typename T>
void make_buffer(AlignedVector<T>& buffer, std::size_t rows, std::size_t width) {
  const std::size_t size = product(rows, width);
  if (size > buffer.max_size()) throw std::bad_alloc();
  buffer.resize(size);
}

}  // namespace

void Needs::site(const Site& site) {
  grow(forms, site.linears.size());
  for (const Linear& linear : site.linears) {
    if (linear.minima.any()) grow(summed_groups, linear.packed.groups());
    if (!linear.integer) continue;
    grow(codes, linear.packed.chunks() * kChunk);
    grow(groups, linear.packed.groups());
  }
}

void Rows::make(std::size_t tokens, std::size_t width) {
  stride = stride_of(width);
  make_buffer(values, tokens, stride);
}

void Codes::make(std::size_t tokens, std::size_t most_codes, std::size_t most_groups) {
  width = most_codes;
  groups = most_groups;
  make_buffer(codes, tokens, width);
  make_buffer(scales, tokens, groups);
  make_buffer(sums, tokens, groups);
}

void Arrivals::make(const Needs& needs, std::size_t tokens) {
  normed.make(tokens, needs.hidden);
  codes.resize(needs.forms);
  for (Codes& form : codes) form.make(tokens, needs.codes, needs.groups);
}

void OwnSpace::make(const Needs& needs, std::size_t most_tokens) {
  few.make(needs, kFewTokens);
  scratch.resize(needs.scratch);
  make_buffer(gated, most_tokens, kGatedStride);
  make_buffer(sums, most_tokens, needs.summed_groups);
  tokens.reserve(most_tokens);
  rows.reserve(most_tokens);
  wanted_rows.reserve(most_tokens);
  queries.reserve(needs.queries);
  if (needs.routed == 0) return;
  begins.reserve(needs.experts + 1);
  next.reserve(needs.experts + 1);
  dealt.resize(product(most_tokens, needs.routed));
  choices.resize(kFewTokens * needs.routed);
  routing.resize(needs.scores + needs.routing_scratch);
  gathered.make(most_tokens, needs.hidden);
  gathered_codes.make(most_tokens, needs.codes, needs.groups);
}

void Workspace::make(const Needs& needs, std::size_t most_tokens, std::size_t threads) {
  hidden_size = needs.hidden;
  hidden.make(most_tokens, needs.hidden);
  wanted.make(most_tokens, needs.hidden);
  projected.make(most_tokens, needs.hidden);
  mixed.make(most_tokens, needs.mixed);
  found.make(most_tokens, needs.found);
  // Holds rows of other buffers too, while some are left out.
  inner.stride = Rows::stride_of(needs.inner);
  make_buffer(inner.values, most_tokens, std::max({inner.stride, mixed.stride, hidden.stride}));
  many.make(needs, most_tokens);
  gated_codes = many.codes[0];
  routed = needs.routed;
  if (routed > 0) {
    scores.make(most_tokens, needs.scores);
    made.make(most_tokens, needs.hidden);
    routed_inner.make(product(most_tokens, routed), needs.routed_inner);
    routed_codes.make(product(most_tokens, routed), needs.routed_codes, needs.routed_groups);
    choices.resize(product(most_tokens, routed));
  }
  own.resize(threads);
  for (OwnSpace& space : own) space.make(needs, most_tokens);
}

}  // namespace tersor
