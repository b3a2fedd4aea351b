// Keys and values of sequences, each in a slot of its own.
//
// A layer keeps a number of positions: all of a sequence, or the last ones. Position p lies at place p modulo that
// number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/keys_values.hpp"

namespace tersor {

// Positions that a layer of `window` (0: sees all) must keep of sequences of up to `context`, of which up to
// `together` are run at once: those that the first of them sees, and all of them.
std::size_t kept_positions(std::size_t context, std::size_t window, std::size_t together);

// What a layer keeps of a sequence: `positions` as above; nothing without heads.
struct Keeping {
  std::size_t positions = 0, heads = 0, dimensions = 0;
};

class Cache {
 public:
  Cache(std::size_t slots, const std::vector<Keeping>& layers, Storage storage);

  std::size_t slots() const { return slots_; }
  std::size_t kept(std::size_t layer) const { return layers_[layer].kept.positions; }
  // Of all slots; pages that were never written take none.
  std::size_t bytes() const { return slots_ * slot_bytes_; }
  KeysValues head(std::size_t slot, std::size_t layer, std::size_t head) const;

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  // Sizes of a layer's heads, and where in a slot they begin.
  struct Layer {
    Keeping kept;
    std::size_t key_bytes, value_bytes, head_bytes, first;
  };

  std::size_t slots_, slot_bytes_ = 0;
  Storage storage_;
  std::vector<Layer> layers_;
  std::unique_ptr<void, Free> memory_;
};

}  // namespace tersor
