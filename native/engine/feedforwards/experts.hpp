// A mixture of experts: gated feed-forwards, of which every token goes through a few.
#pragma once

#include "engine/feedforwards/feedforward.hpp"
#include "engine/feedforwards/routing.hpp"

namespace tersor {

class Experts final : public FeedForward {
 public:
  struct Expert {
    Linear gate, up, down;
  };

  // `router`: a linear of floats that gives every expert a logit. `shared`: an expert for every token, or none, and
  // perhaps a linear of one row whose sigmoid says how much it counts.
  Experts(const Routing& routing, Activation activation, const Linear& router, std::vector<Expert> experts,
          bool has_shared, const Linear* shared_gate);

  const Linear& first() const override { return router_.linears[0]; }
  void declare(Needs& needs) const override;
  void run(Pass& pass, const Norm& norm, const Joining& joining, const Linear& next) const override;

 private:
  std::size_t each() const { return routing_.chosen + (has_shared_ ? 1 : 0); }
  void route(Pass& pass, const Entered& entered) const;
  // Deals a row to each token and expert that it goes to, in the order of experts: the rows of one lie together.
  void deal(Pass& pass) const;
  void open(Pass& pass, const Entered& entered) const;
  void quantize(Pass& pass) const;
  void close(Pass& pass, Rows& to, bool is_empty) const;
  Range rows_of(const Pass& pass, std::size_t expert) const;

  Routing routing_;
  Activation activation_;
  Site router_;
  std::vector<Expert> experts_;  // the shared one is the last
  bool has_shared_;
};

}  // namespace tersor
