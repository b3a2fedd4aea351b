// Threads of one step, and who of them works together on which tokens.
#pragma once

#include <span>

#include "kernels/packed_weights.hpp"
#include "threads/barrier.hpp"

namespace tersor {

// A token of a sequence; its keys and values go to `position` of `slot`, and it sees those up to itself.
struct Token {
  std::size_t id, slot, position;
};

// So few tokens are normed and quantized by every thread for itself.
constexpr std::size_t kFewTokens = 8;
// With so many for every thread, each takes tokens of its own through all linears, and what it writes stays in its
// caches; only keys and values are for others. They are dealt out in turns of some, because later ones see more.
constexpr std::size_t kOwnTokens = 64, kTurnTokens = 32;

struct Range {
  std::size_t first, last;
};

// Who works together on which tokens, and where those lie.
struct Crew {
  std::span<const Token> tokens;
  // This thread among those that share the work on the tokens.
  std::size_t part, parts;
  // The row of the first token in buffers of all tokens; the others follow.
  std::size_t first_row;

  bool is_few() const { return tokens.size() < kFewTokens; }
  Range share(std::size_t count) const { return {count * part / parts, count * (part + 1) / parts}; }
  Range share_panels(std::size_t panels) const {
    const PanelShare mine(panels, parts, part);
    return {mine.first, mine.last};
  }
};

// body(part, parts, barrier) on several threads at once; on one if the pool is busy.
template <typename Body>
void in_step(std::size_t threads, Body& body) {
  Barrier barrier(threads);
  auto together = [&](std::size_t part) {
    try {
      body(part, threads, barrier);
    } catch (const Barrier::Left&) {
      // Whoever left throws what made it leave.
    } catch (...) {
      barrier.leave();
      throw;
    }
  };
  if (threads > 1 && try_parts(threads, together)) return;
  Barrier alone(1);
  body(0, 1, alone);
}

}  // namespace tersor
