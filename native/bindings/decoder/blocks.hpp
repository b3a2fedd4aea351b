// Parts of a decoder's blocks as Python hands them over.
#pragma once

#include <limits>
#include <memory>
#include <vector>

#include "bindings/weights.hpp"
#include "engine/feedforwards/feedforward.hpp"
#include "engine/mixers/mixer.hpp"

namespace tersor {

// Arrays that a part points into live as long as it does.
using Kept = std::vector<nanobind::object>;

struct HeldNorm {
  Norm norm;
  std::size_t size;
  // Of queries or keys: whether it is of all heads at once.
  bool spans_all = false;
  Kept kept = {};
};

// `positions`: how many it can be used for.
struct HeldMixer {
  std::shared_ptr<const Mixer> mixer;
  std::size_t hidden;
  std::size_t positions = std::numeric_limits<std::size_t>::max();
  Kept kept = {};
};

struct HeldFeedForward {
  std::shared_ptr<const FeedForward> feedforward;
  std::size_t hidden;
  Kept kept = {};
};

inline void keep_all(Kept& kept, const Kept& more) { kept.insert(kept.end(), more.begin(), more.end()); }

// A norm that may be missing, of rows of `size`.
inline Norm norm_of(const HeldNorm* held, std::size_t size, Kept& kept) {
  if (held == nullptr) return {};
  check(held->size == size, "a norm has one value for every element");
  keep_all(kept, held->kept);
  return held->norm;
}

// Linears that read rows of `columns` and make rows of `rows` together.
Site site_of(const std::vector<const HeldLinear*>& parts, std::size_t columns, std::size_t rows, Kept& kept);

}  // namespace tersor

void define_blocks(nanobind::module_& m);
