// down(activation(up(x))).
#pragma once

#include "engine/feedforwards/feedforward.hpp"
#include "engine/parts/nonlinearity.hpp"

namespace tersor {

class Plain final : public FeedForward {
 public:
  Plain(const Nonlinearity& nonlinearity, Site input, Site output)
      : nonlinearity_(nonlinearity), input_(std::move(input)), output_(std::move(output)) {}

  const Linear& first() const override { return input_.linears[0]; }
  void declare(Needs& needs) const override;
  void run(Pass& pass, const Norm& norm, const Joining& joining, const Linear& next) const override;

 private:
  Nonlinearity nonlinearity_;
  Site input_, output_;
};

}  // namespace tersor
