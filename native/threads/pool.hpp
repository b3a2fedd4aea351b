// Threads that wait for work of microseconds: they spin for a little while, then sleep.
//
// A pool is made at the first use, grows to what is asked for, and is left behind by a fork: the child
// makes its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tersor {

using PoolWork = void (*)(void* context, std::size_t part);

// Parts 0..parts - 1, each on its own thread, the first on the caller's. Whoever finds the pool busy, or no more
// threads to be had, does all of them alone, one after the other. When all are through, the first exception of any
// is thrown.
void run_parts(std::size_t parts, PoolWork work, void* context);

// The same if the pool is free and has the threads; otherwise nothing, and false.
bool try_run_parts(std::size_t parts, PoolWork work, void* context);

// Waits until `value` is no longer `old`: spins for some microseconds, lets others have the core
// for some more, then sleeps.
void wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old);

template <typename Body>
void in_parts(std::size_t parts, Body& body) {
  run_parts(
      parts, [](void* context, std::size_t part) { (*static_cast<Body*>(context))(part); }, &body);
}

template <typename Body>
bool try_parts(std::size_t parts, Body& body) {
  return try_run_parts(
      parts, [](void* context, std::size_t part) { (*static_cast<Body*>(context))(part); }, &body);
}

}  // namespace tersor
