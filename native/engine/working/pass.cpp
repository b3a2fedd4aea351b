#include "engine/working/pass.hpp"

#include <algorithm>

#include "kernels/group_sums.hpp"

namespace tersor {

void Pass::anticipate(const Linear& linear) const {
  if (!linear.integer || !crew.is_few()) return;
  constexpr std::size_t kCodes = 4096, kScales = 1024;
  const PackedWeights& w = linear.packed;
  const std::size_t panel = crew.share_panels(linear.panels()).first;
  const std::uint8_t* const codes = w.codes + w.first_chunk(panel);
  for (std::size_t i = 0; i < kCodes; i += 64) __builtin_prefetch(codes + i);
  const char* const scales = w.scales.place_of(panel * w.groups() * kPanelRows);
  for (std::size_t i = 0; i < kScales; i += 64) __builtin_prefetch(scales + i);
}

Entered Pass::enter(const Site& site, const Entering& x) {
  const bool few = x.tokens < kFewTokens;
  Arrivals& to = few ? own.few : space.many;
  enter_rows(site, x, to, few ? Range{0, x.tokens} : crew.share(x.tokens));
  if (!few) wait();
  if (!x.norm) return {x.rows, x.stride, x.tokens, to.codes.data()};
  return {rows_of(to.normed), to.normed.stride, x.tokens, to.codes.data()};
}

void Pass::enter_rows(const Site& site, const Entering& x, Arrivals& to, Range rows) {
  const std::size_t columns = site.columns();
  for (std::size_t t = rows.first; t < rows.last; ++t) {
    float* row = x.rows + t * x.stride;
    if (x.gated != nullptr) kernels.gate(*x.gated, row, row + columns, columns);
    if (x.norm) {
      float* const normed = rows_of(to.normed) + t * to.normed.stride;
      x.norm.apply(kernels, row, columns, normed);
      row = normed;
    }
    for (std::size_t i = 0; i < site.linears.size(); ++i) {
      if (!site.linears[i].integer || site.form_of(i) != i) continue;
      const PackedWeights& packed = site.linears[i].packed;
      kernels.quantize(row, x.stride, 1, columns, packed.group, site.linears[i].input,
                       codes_of(to.codes[i], packed, t));
    }
  }
}

// Threads with tokens of their own may be at different linears, so where their codes begin depends on none.
TokenCodes Pass::codes_of(Codes& codes, const PackedWeights& weights, std::size_t token) const {
  const std::size_t parameter = crew.first_row * codes.groups + token * weights.groups();
  return {codes.codes.data() + crew.first_row * codes.width + token * weights.chunks() * kChunk,
          codes.scales.data() + parameter, codes.sums.data() + parameter};
}

void Pass::multiply(const Linear& linear, std::size_t form, const Entered& entered, const Output& out, Range panels) {
  Activations x = {entered.x, entered.stride, {nullptr, nullptr, nullptr, entered.tokens}};
  if (linear.integer) {
    const TokenCodes codes = codes_of(entered.codes[form], linear.packed, 0);
    x.codes = {codes.codes, codes.scales, codes.sums, entered.tokens};
  }
  multiply(linear, x, out, panels);
}

void Pass::multiply(const Linear& linear, const Activations& x, const Output& out, Range panels) {
  if (panels.first >= panels.last) return;
  const std::size_t tokens = x.codes.tokens;
  if (linear.integer) {
    kernels.linear(linear.packed, x.codes, out, panels.first, panels.last);
  } else {
    kernels.float_linear(linear.floats(), x.x, x.stride, tokens, out, panels.first, panels.last);
  }
  if (linear.minima.any()) add_minima(linear, x, out, panels);
  if (linear.bias == nullptr) return;
  const std::size_t first = panels.first * kPanelRows;
  const std::size_t last = std::min(panels.last * kPanelRows, linear.rows);
  for (std::size_t t = 0; t < tokens; ++t) kernels.add(out.row(t) + first, linear.bias + first, last - first);
}

void Pass::add_minima(const Linear& linear, const Activations& x, const Output& out, Range panels) {
  const std::size_t groups = linear.packed.groups(), tokens = x.codes.tokens;
  float* const sums = own.sums.data();
  if (linear.integer) {
    sum_groups(x.codes, groups, sums);
  } else {
    sum_groups(x.x, x.stride, tokens, linear.columns, linear.packed.group, sums);
  }
  kernels.float_linear(linear.minima_of_groups(), sums, groups, tokens, {out.y, out.stride, true}, panels.first,
                       panels.last);
}

void Pass::gather(const Linear& linear, const Entered& entered, const DealtRow* rows, std::size_t count) {
  const PackedWeights& packed = linear.packed;
  Codes& to = own.gathered_codes;
  for (std::size_t r = 0; r < count; ++r) {
    const float* const row = entered.x + rows[r].token * entered.stride;
    if (linear.integer) {
      kernels.quantize(row, entered.stride, 1, linear.columns, packed.group, linear.input,
                       {to.codes.data() + r * packed.chunks() * kChunk, to.scales.data() + r * packed.groups(),
                        to.sums.data() + r * packed.groups()});
    } else {
      std::copy_n(row, linear.columns, own.gathered.row(r));
    }
  }
}

void Pass::multiply_gathered(const Linear& linear, std::size_t count, const Output& out, Range panels) {
  const Codes& codes = own.gathered_codes;
  multiply(linear,
           {own.gathered.row(0), own.gathered.stride,
            {codes.codes.data(), codes.scales.data(), codes.sums.data(), count}},
           out, panels);
}

TokenCodes Pass::routed_codes(const Linear& linear, std::size_t first, std::size_t index) {
  if (!linear.integer) return {nullptr, nullptr, nullptr};
  Codes& codes = space.routed_codes;
  const std::size_t row = crew.first_row * space.routed + first;
  const std::size_t parameter = row * codes.groups + index * linear.packed.groups();
  return {codes.codes.data() + row * codes.width + index * linear.packed.chunks() * kChunk,
          codes.scales.data() + parameter, codes.sums.data() + parameter};
}

void Pass::join(const Site& site, const Entered& entered, const Joining& joining, const Linear& next) {
  const Linear& linear = site.linears[0];
  const Range panels = crew.share_panels(linear.panels());
  if (joining.is_plain()) {
    multiply(linear, 0, entered, {rows_of(space.hidden), space.hidden.stride, true}, panels);
    anticipate(next);
  } else {
    multiply(linear, 0, entered, {rows_of(space.projected), space.projected.stride, false}, panels);
    anticipate(next);
    if (!joining.later) {
      wait();
      join_projected(joining);
    }
  }
  wait();
}

void Pass::join_projected(const Joining& joining) {
  const Range rows = crew.share(crew.tokens.size());
  const std::size_t size = space.hidden_size;
  for (std::size_t t = rows.first; t < rows.last; ++t) {
    float* const row = rows_of(space.projected) + t * space.projected.stride;
    if (joining.norm) joining.norm.apply(kernels, row, size, row);
    if (joining.scale != 1.0f) {
      for (std::size_t i = 0; i < size; ++i) row[i] *= joining.scale;
    }
    kernels.add(rows_of(space.hidden) + t * space.hidden.stride, row, size);
  }
}

}  // namespace tersor
