// One thread's way through a step: what it may use, and the linears of its crew.
#pragma once

#include "engine/parts/norm.hpp"
#include "engine/states/cache.hpp"
#include "engine/working/workspace.hpp"

namespace tersor {

// Rows for the linears of a site, to be normed first, or gated (the gate before what it opens for).
struct Entering {
  float* rows;
  std::size_t stride, tokens;
  Norm norm = {};
  const Activation* gated = nullptr;
};

// Activations on their way into the linears of a site.
struct Entered {
  const float* x;
  std::size_t stride, tokens;
  Codes* codes;  // for each form
};

// The same, wherever codes lie.
struct Activations {
  const float* x;
  std::size_t stride;
  QuantizedTokens codes;
};

// How what a mixer or a feed-forward makes comes into the residual stream: normed and scaled first. If it is to come
// later, it stays in `projected` until then.
struct Joining {
  Norm norm = {};
  float scale = 1.0f;
  bool later = false;

  bool is_plain() const { return !norm && scale == 1.0f && !later; }
};

class Pass {
 public:
  Pass(const Kernels& kernels_, Workspace& space_, const Cache& cache_, Barrier& barrier, Crew crew_)
      : kernels(kernels_), space(space_), cache(cache_), own(space_.own[crew_.part]), crew(crew_), barrier_(barrier) {}

  const Kernels& kernels;
  Workspace& space;
  const Cache& cache;
  OwnSpace& own;
  Crew crew;
  // Of the block that the step is at.
  std::size_t block = 0;

  void wait() {
    if (crew.parts > 1) barrier_.wait();
  }
  void wait_for_all() { barrier_.wait(); }

  // Rows of a buffer that belong to the crew's tokens.
  float* rows_of(Rows& rows) const { return rows.row(crew.first_row); }

  // Has the first of what this thread will read of a linear brought near.
  void anticipate(const Linear& linear) const;
  Entered enter(const Site& site, const Entering& x);
  // The residual stream, perhaps normed.
  Entered enter_hidden(const Site& site, const Norm& norm) {
    return enter(site, {rows_of(space.hidden), space.hidden.stride, crew.tokens.size(), norm});
  }
  // Where a token's codes for some weights are.
  TokenCodes codes_of(Codes& codes, const PackedWeights& weights, std::size_t token) const;
  // Rows of `panels` of a linear of a site.
  void multiply(const Linear& linear, std::size_t form, const Entered& entered, const Output& out, Range panels);
  void multiply(const Linear& linear, const Activations& x, const Output& out, Range panels);

  // Choices of the crew's tokens.
  Choice* choices() {
    return crew.is_few() ? own.choices.data() : space.choices.data() + crew.first_row * space.routed;
  }
  // Some of the rows that entered, for a linear, and that linear's product with what was gathered last.
  void gather(const Linear& linear, const Entered& entered, const DealtRow* rows, std::size_t count);
  void multiply_gathered(const Linear& linear, std::size_t count, const Output& out, Range panels);
  // Where codes are of the row `index` of an expert whose first row is `first`.
  TokenCodes routed_codes(const Linear& linear, std::size_t first, std::size_t index);

  // The only linear of a site, into the residual stream; `next` is the linear that comes after it.
  void join(const Site& site, const Entered& entered, const Joining& joining, const Linear& next);
  // The same for what lies in `projected` already, when all have written it.
  void join_projected(const Joining& joining);

 private:
  void enter_rows(const Site& site, const Entering& x, Arrivals& to, Range rows);
  // What the minima of groups add, for activations in float32 and for quantized ones.
  void add_minima(const Linear& linear, const Activations& x, const Output& out, Range panels);

  Barrier& barrier_;
};

}  // namespace tersor
