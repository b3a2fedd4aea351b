// Threads that wait for work of microseconds: they spin for a little while, then sleep.
//
// A pool is made at the first use, grows to what is asked for, and is left behind by a fork: the child
// makes its own. Whoever finds it busy does all parts alone.
#pragma once

#include <cstddef>

namespace tersor {

using PoolWork = void (*)(void* context, std::size_t part);

void run_parts(std::size_t parts, PoolWork work, void* context);

// body(part) for part = 0..parts - 1, each on its own thread, the first on the caller's.
template <typename Body>
void in_parts(std::size_t parts, Body& body) {
  run_parts(
      parts, [](void* context, std::size_t part) { (*static_cast<Body*>(context))(part); }, &body);
}

}  // namespace tersor
