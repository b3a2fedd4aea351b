// Vectors whose elements start at a line of the cache, so that no wide load of a row crosses two.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace tersor {

template <typename T>
struct LineAllocator {
  typedef T value_type;
  static constexpr std::align_val_t kLine{64};

  LineAllocator() = default;
  template <typename U>
  LineAllocator(const LineAllocator<U>&) {}

  T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* memory, std::size_t) { ::operator delete(memory, kLine); }
  bool operator==(const LineAllocator&) const { return true; }
};

template <typename T>
using AlignedVector = std::vector<T, LineAllocator<T>>;

}  // namespace tersor
