// The gated linears of a step.
#include "engine/step.hpp"

#include <algorithm>

namespace tersor {
namespace {

// Whether what is gated can be quantized group by group as soon as it is multiplied.
bool gates_in_groups(const Layer& layer, std::size_t columns, std::size_t most) {
  constexpr std::size_t kBundleRows = kBundlePanels * kPanelRows;
  const Linear& down = layer.mlp_output.linears[0];
  if (!down.integer || down.packed.group > most || down.packed.group % kBundleRows != 0) return false;
  if (layer.mlp.linears.size() == 1 && columns % kBundleRows != 0) return false;
  for (const Linear& linear : layer.mlp.linears) {
    if (!linear.integer) return false;
  }
  return true;
}

}  // namespace

// Gate and up, of one linear or two, gated: what enters the last linear.
Step::Entered Step::gated_mlp(const Crew& crew, const Layer& layer) {
  const std::size_t stride = all_.hidden_stride_;
  float* const hidden = crew.rows_of(all_.hidden_, stride);
  const Entered entered = enter(crew, layer.mlp, {hidden, stride, crew.tokens.size(), layer.mlp_norm, false});
  if (!crew.is_few() && gates_in_groups(layer, model_.mlp_size, Decoder::kGatedColumns)) {
    return gate_in_groups(crew, layer, entered);
  }
  return multiply_gated(crew, layer, entered);
}

// All columns first, side by side in `mlp_`. Of few tokens, what is kept is where the gate was; many are gated when
// they are quantized.
Step::Entered Step::multiply_gated(const Crew& crew, const Layer& layer, const Entered& entered) {
  const std::size_t size = model_.mlp_size, stride = all_.mlp_stride_;
  const std::vector<Linear>& linears = layer.mlp.linears;
  const Range panels = crew.share_panels((size + kPanelRows - 1) / kPanelRows);
  float* const y = crew.rows_of(all_.mlp_, stride);
  const std::size_t form = linears[0].integer ? layer.mlp.form_of(0) : 0;
  multiply(crew, linears[0], form, entered, {y, stride, false}, panels);
  if (linears.size() == 2) anticipate(crew, linears[1]);
  if (linears.size() == 1) {
    const std::size_t up = size / kPanelRows;
    multiply(crew, linears[0], form, entered, {y, stride, false}, {up + panels.first, up + panels.last});
  } else {
    const std::size_t other = linears[1].integer ? layer.mlp.form_of(1) : 0;
    multiply(crew, linears[1], other, entered, {y + size, stride, false}, panels);
  }
  if (crew.is_few()) {
    const std::size_t first = panels.first * kPanelRows;
    const std::size_t count = std::min(panels.last * kPanelRows, size) - first;
    for (std::size_t t = 0; t < crew.tokens.size(); ++t) {
      float* const row = y + t * stride + first;
      kernels_.gate(model_.activation, row, row + size, count);
    }
  }
  anticipate(crew, layer.mlp_output.linears[0]);
  wait(crew);
  return enter(crew, layer.mlp_output, {y, stride, crew.tokens.size(), nullptr, !crew.is_few()});
}

// Some groups of columns of both at a time, which are gated and quantized while they are near.
Step::Entered Step::gate_in_groups(const Crew& crew, const Layer& layer, const Entered& entered) {
  constexpr std::size_t kStride = Decoder::kGatedStride;
  const std::vector<Linear>& linears = layer.mlp.linears;
  const PackedWeights& down = layer.mlp_output.linears[0].packed;
  const std::size_t size = model_.mlp_size, group = down.group, together = Decoder::kGatedColumns / group;
  const std::size_t form = layer.mlp.form_of(0), up_form = linears.size() == 2 ? layer.mlp.form_of(1) : form;
  const std::size_t up_first = linears.size() == 2 ? 0 : size / kPanelRows;
  const Linear& up = linears.back();
  float* const gate = own_.gated.data();
  const Range groups = crew.share(down.groups());
  for (std::size_t g = groups.first; g < groups.last; g += together) {
    const std::size_t first = g * group;
    const std::size_t last = std::min({(g + together) * group, groups.last * group, size});
    const Range panels = {first / kPanelRows, (last + kPanelRows - 1) / kPanelRows};
    const Linear gate_part = linears[0].part(panels.first, panels.last);
    const Linear up_part = up.part(up_first + panels.first, up_first + panels.last);
    multiply(crew, gate_part, form, entered, {gate, kStride, false}, {0, gate_part.panels()});
    multiply(crew, up_part, up_form, entered, {gate + Decoder::kGatedColumns, kStride, false}, {0, up_part.panels()});
    for (std::size_t t = 0; t < crew.tokens.size(); ++t) {
      float* const row = gate + t * kStride;
      kernels_.gate(model_.activation, row, row + Decoder::kGatedColumns, last - first);
      const TokenCodes to = codes_of(crew, all_.gated_codes_[0], down, t);
      for (std::size_t k = first; k < last; k += group) {
        const std::size_t index = k / group;
        kernels_.quantize(row + k - first, kStride, 1, std::min(group, last - k), group,
                          layer.mlp_output.linears[0].input, {to.codes + k, to.scales + index, to.sums + index});
      }
    }
  }
  wait(crew);
  return {nullptr, 0, crew.tokens.size(), &all_.gated_codes_};
}

}  // namespace tersor
