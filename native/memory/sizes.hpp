// Sizes of memory: one that does not fit its type is one that no machine has.
#pragma once

#include <cstddef>
#include <new>

namespace tersor {

inline std::size_t sum(std::size_t a, std::size_t b) {
  std::size_t result;
  if (__builtin_add_overflow(a, b, &result)) throw std::bad_alloc();
  return result;
}

inline std::size_t product(std::size_t a, std::size_t b) {
  std::size_t result;
  if (__builtin_mul_overflow(a, b, &result)) throw std::bad_alloc();
  return result;
}

}  // namespace tersor
