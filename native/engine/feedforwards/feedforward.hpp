// What a block does with each token alone: its second half.
#pragma once

#include "engine/working/pass.hpp"

namespace tersor {

// Shared by the threads of a step, like a `Mixer`.
class FeedForward {
 public:
  virtual ~FeedForward() = default;

  // The linear that comes first.
  virtual const Linear& first() const = 0;
  virtual void declare(Needs& needs) const = 0;
  // From the residual stream, normed, into it; `next` is the linear that comes after this.
  virtual void run(Pass& pass, const Norm& norm, const Joining& joining, const Linear& next) const = 0;
};

}  // namespace tersor
