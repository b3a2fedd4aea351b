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

void Arrivals::make(const Needs& needs, std::size_t tokens) {
  normed.make(tokens, needs.hidden);
  codes.resize(needs.forms);
  for (Codes& form : codes) {
    form.width = needs.codes;
    form.groups = needs.groups;
    make_buffer(form.codes, tokens, needs.codes);
    make_buffer(form.scales, tokens, needs.groups);
    make_buffer(form.sums, tokens, needs.groups);
  }
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
  own.resize(threads);
  for (OwnSpace& space : own) space.make(needs, most_tokens);
}

}  // namespace tersor
