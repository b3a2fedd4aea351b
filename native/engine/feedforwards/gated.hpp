// down(activation(gate(x)) * up(x)).
#pragma once

#include "engine/feedforwards/feedforward.hpp"

namespace tersor {

class Gated final : public FeedForward {
 public:
  // `input`: gate and up, of one linear or two, `size` rows each; `output`: down.
  Gated(std::size_t size, Activation activation, Site input, Site output);

  const Linear& first() const override { return input_.linears[0]; }
  void declare(Needs& needs) const override;
  void run(Pass& pass, const Norm& norm, const Joining& joining, const Linear& next) const override;

 private:
  Entered multiply(Pass& pass, const Entered& entered) const;
  Entered multiply_in_groups(Pass& pass, const Entered& entered) const;

  std::size_t size_;
  Activation activation_;
  Site input_, output_;
  bool in_groups_;
};

}  // namespace tersor
