// Keys and values of sequences: each in a slot of its own, all of one capacity.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "../kernels/attention.hpp"

namespace tersor {

class Cache {
 public:
  Cache(std::size_t slots, std::size_t layers, std::size_t heads, std::size_t dimensions,
        std::size_t capacity, Storage storage);

  std::size_t slots() const { return slots_; }
  std::size_t capacity() const { return capacity_; }
  // Of all slots; pages that were never written take none.
  std::size_t bytes() const { return slots_ * layers_ * heads_ * head_bytes_; }
  KeysValues head(std::size_t slot, std::size_t layer, std::size_t head) const;

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  std::size_t slots_, layers_, heads_, dimensions_, capacity_;
  Storage storage_;
  std::size_t key_bytes_, value_bytes_, head_bytes_;
  std::unique_ptr<void, Free> memory_;
};

}  // namespace tersor
