#include "engine/feedforwards/gated.hpp"

#include <algorithm>

namespace tersor {
namespace {

// Whether what is gated can be quantized group by group as soon as it is multiplied.
bool gates_in_groups(const Site& input, const Site& output, std::size_t columns) {
  constexpr std::size_t kBundleRows = kBundlePanels * kPanelRows;
  const Linear& down = output.linears[0];
  if (!down.integer || down.packed.group > kGatedColumns || down.packed.group % kBundleRows != 0) return false;
  if (input.linears.size() == 1 && columns % kBundleRows != 0) return false;
  for (const Linear& linear : input.linears) {
    if (!linear.integer) return false;
  }
  return true;
}

}  // namespace

Gated::Gated(std::size_t size, Activation activation, Site input, Site output)
    : size_(size),
      activation_(activation),
      input_(std::move(input)),
      output_(std::move(output)),
      in_groups_(gates_in_groups(input_, output_, size)) {}

void Gated::declare(Needs& needs) const {
  needs.site(input_);
  needs.site(output_);
  Needs::grow(needs.inner, 2 * size_);
}

void Gated::run(Pass& pass, const Norm& norm, const Joining& joining, const Linear& next) const {
  const Entered entered = pass.enter_hidden(input_, norm);
  const bool in_groups = !pass.crew.is_few() && in_groups_;
  pass.join(output_, in_groups ? multiply_in_groups(pass, entered) : multiply(pass, entered), joining, next);
}

// All columns first, side by side in `inner`. Of few tokens, what is kept is where the gate was; many are gated when
// they are quantized.
Entered Gated::multiply(Pass& pass, const Entered& entered) const {
  const std::size_t stride = pass.space.inner.stride, tokens = pass.crew.tokens.size();
  const std::vector<Linear>& linears = input_.linears;
  const Range panels = pass.crew.share_panels((size_ + kPanelRows - 1) / kPanelRows);
  float* const y = pass.rows_of(pass.space.inner);
  const std::size_t form = linears[0].integer ? input_.form_of(0) : 0;
  pass.multiply(linears[0], form, entered, {y, stride, false}, panels);
  if (linears.size() == 2) pass.anticipate(linears[1]);
  if (linears.size() == 1) {
    const std::size_t up = size_ / kPanelRows;
    pass.multiply(linears[0], form, entered, {y, stride, false}, {up + panels.first, up + panels.last});
  } else {
    const std::size_t other = linears[1].integer ? input_.form_of(1) : 0;
    pass.multiply(linears[1], other, entered, {y + size_, stride, false}, panels);
  }
  const bool few = pass.crew.is_few();
  if (few) {
    const std::size_t first = panels.first * kPanelRows;
    const std::size_t count = std::min(panels.last * kPanelRows, size_) - first;
    for (std::size_t t = 0; t < tokens; ++t) {
      float* const row = y + t * stride + first;
      pass.kernels.gate(activation_, row, row + size_, count);
    }
  }
  pass.anticipate(output_.linears[0]);
  pass.wait();
  return pass.enter(output_, {y, stride, tokens, {}, few ? nullptr : &activation_});
}

// Some groups of columns of both at a time, which are gated and quantized while they are near.
Entered Gated::multiply_in_groups(Pass& pass, const Entered& entered) const {
  const std::vector<Linear>& linears = input_.linears;
  const Linear &down = output_.linears[0], &up = linears.back();
  const std::size_t group = down.packed.group, together = kGatedColumns / group, tokens = pass.crew.tokens.size();
  const std::size_t form = input_.form_of(0), up_form = linears.size() == 2 ? input_.form_of(1) : form;
  const std::size_t up_first = linears.size() == 2 ? 0 : size_ / kPanelRows;
  float* const gate = pass.own.gated.data();
  const Range groups = pass.crew.share(down.packed.groups());
  for (std::size_t g = groups.first; g < groups.last; g += together) {
    const std::size_t first = g * group;
    const std::size_t last = std::min({(g + together) * group, groups.last * group, size_});
    const Range panels = {first / kPanelRows, (last + kPanelRows - 1) / kPanelRows};
    const Linear gate_part = linears[0].part(panels.first, panels.last);
    const Linear up_part = up.part(up_first + panels.first, up_first + panels.last);
    pass.multiply(gate_part, form, entered, {gate, kGatedStride, false}, {0, gate_part.panels()});
    pass.multiply(up_part, up_form, entered, {gate + kGatedColumns, kGatedStride, false}, {0, up_part.panels()});
    for (std::size_t t = 0; t < tokens; ++t) {
      float* const row = gate + t * kGatedStride;
      pass.kernels.gate(activation_, row, row + kGatedColumns, last - first);
      const TokenCodes to = pass.codes_of(pass.space.gated_codes, down.packed, t);
      for (std::size_t k = first; k < last; k += group) {
        const std::size_t index = k / group;
        pass.kernels.quantize(row + k - first, kGatedStride, 1, std::min(group, last - k), group, down.input,
                              {to.codes + k, to.scales + index, to.sums + index});
      }
    }
  }
  pass.wait();
  return {nullptr, 0, tokens, &pass.space.gated_codes};
}

}  // namespace tersor
