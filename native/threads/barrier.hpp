// Where threads of one step wait for each other. One that fails leaves, and the others do not wait for it.
#pragma once

#include <atomic>
#include <cstdint>

#include "threads/pool.hpp"

namespace tersor {

class Barrier {
 public:
  // What `wait` throws once somebody has left.
  struct Left {};

  explicit Barrier(std::size_t threads) : threads_(static_cast<std::uint32_t>(threads)) {}

  void wait() {
    if (threads_ == 1) return;
    const std::uint32_t turn = turn_.load(std::memory_order_acquire);
    // Who leaves says so before the turn changes: a turn from before that will change yet.
    if (left_.load(std::memory_order_acquire)) throw Left{};
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.fetch_add(1, std::memory_order_release);
      turn_.notify_all();
    } else {
      wait_for_change(turn_, turn);
      if (left_.load(std::memory_order_acquire)) throw Left{};
    }
  }

  // For ever: nobody comes past this barrier any more.
  void leave() {
    left_.store(true, std::memory_order_release);
    turn_.fetch_add(1, std::memory_order_release);
    turn_.notify_all();
  }

 private:
  const std::uint32_t threads_;
  std::atomic<std::uint32_t> arrived_{0}, turn_{0};
  std::atomic<bool> left_{false};
};

}  // namespace tersor
