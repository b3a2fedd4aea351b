#include "engine/feedforwards/plain.hpp"

#include <algorithm>

namespace tersor {

void Plain::declare(Needs& needs) const {
  needs.site(input_);
  needs.site(output_);
  Needs::grow(needs.inner, output_.columns());
}

void Plain::run(Pass& pass, const Norm& norm, const Joining& joining, const Linear& next) const {
  const Entered entered = pass.enter_hidden(input_, norm);
  const Linear& up = input_.linears[0];
  const std::size_t stride = pass.space.inner.stride, tokens = pass.crew.tokens.size();
  const Range panels = pass.crew.share_panels(up.panels());
  float* const y = pass.rows_of(pass.space.inner);
  pass.multiply(up, 0, entered, {y, stride, false}, panels);
  const std::size_t first = panels.first * kPanelRows, last = std::min(panels.last * kPanelRows, up.rows);
  for (std::size_t t = 0; t < tokens && first < last; ++t) {
    nonlinearity_.apply(pass.kernels, y + t * stride + first, last - first);
  }
  pass.anticipate(output_.linears[0]);
  pass.wait();
  pass.join(output_, pass.enter(output_, {y, stride, tokens}), joining, next);
}

}  // namespace tersor
