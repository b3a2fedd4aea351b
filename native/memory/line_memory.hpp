// Memory whose elements start at a line of the cache. No class of the standard library: its functions, compiled for
// these instructions, could take the place of others'.
#pragma once

#include <cstddef>
#include <new>

namespace tersor {
namespace {

struct LineMemory {
  static constexpr std::size_t kLine = 64;

  void* const start;

  explicit LineMemory(std::size_t bytes) : start(::operator new(bytes, std::align_val_t{kLine})) {}
  ~LineMemory() { ::operator delete(start, std::align_val_t{kLine}); }
  LineMemory(const LineMemory&) = delete;
  LineMemory& operator=(const LineMemory&) = delete;

  template <typename T>
  T* as() const {
    return static_cast<T*>(start);
  }
};

}  // namespace
}  // namespace tersor
