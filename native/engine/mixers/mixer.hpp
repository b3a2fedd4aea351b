// What mixes tokens of a sequence: the first half of a block.
#pragma once

#include "engine/working/pass.hpp"

namespace tersor {

// Nothing in it changes while steps run: a step's threads share it, and everything they write is in a `Pass`.
class Mixer {
 public:
  virtual ~Mixer() = default;

  // The linear that comes first.
  virtual const Linear& first() const = 0;
  virtual void declare(Needs& needs) const = 0;
  // What it keeps of sequences of up to `context` positions, of which `together` are run at once.
  virtual Keeping keeping(std::size_t context, std::size_t together) const = 0;
  // How many positions a token sees; 0: all.
  virtual std::size_t window() const = 0;

  // Has everything that tokens say to later ones go to the cache. What is left to do lies in rows of `mixed`. All
  // threads wait for each other after this, and perhaps go on with some of the tokens only.
  virtual void remember(Pass& pass, const Norm& norm) const = 0;
  // What the tokens find, into the residual stream; `next` is the linear that comes after this.
  virtual void find(Pass& pass, const Joining& joining, const Linear& next) const = 0;
};

}  // namespace tersor
