// Work that throws in one thread or several: the caller gets it, and nobody waits for ever.
#pragma once

#include <atomic>
#include <new>
#include <stdexcept>

#include "checking.hpp"
#include "engine/working/team.hpp"
#include "threads/parallel.hpp"

namespace failing {

// What a call throws, as a number: parts throw their own, -1 is no memory, and 0 is nothing.
template <typename Call>
int thrown(const Call& call) {
  try {
    call();
  } catch (const int part) {
    return part;
  } catch (const std::bad_alloc&) {
    return -1;
  }
  return 0;
}

inline void check_pool(std::size_t parts) {
  for (std::size_t failing = 0; failing < parts; ++failing) {
    std::atomic<std::size_t> done{0};
    auto body = [&](std::size_t part) {
      if (part == failing) throw static_cast<int>(part) + 1;
      ++done;
    };
    require(thrown([&] { in_parts(parts, body); }) == static_cast<int>(failing) + 1, "a part that throws", "any");
    require(done == parts - 1, "the other parts are done", "any");
  }
  auto no_memory = [](std::size_t) { throw std::bad_alloc(); };
  require(thrown([&] { in_parts(parts, no_memory); }) == -1, "parts that all throw", "any");
  std::atomic<std::size_t> done{0};
  auto body = [&](std::size_t) { ++done; };
  require(thrown([&] { in_parts(parts, body); }) == 0 && done == parts, "parts after others that threw", "any");
}

// Whoever works inside a part finds the pool busy.
inline void check_inner_parts() {
  auto outer = [](std::size_t) {
    auto inner = [](std::size_t part) {
      if (part == 2) throw 7;
    };
    in_parts(3, inner);
  };
  require(thrown([&] { in_parts(2, outer); }) == 7, "a part of a part that throws", "any");
}

inline void check_step(std::size_t threads) {
  constexpr std::size_t kWaits = 4;
  for (std::size_t failing = 0; failing < threads; ++failing) {
    for (std::size_t wait = 0; wait <= kWaits; ++wait) {
      std::atomic<std::size_t> passed{0};
      auto body = [&](std::size_t part, std::size_t, Barrier& barrier) {
        for (std::size_t i = 0; i < kWaits; ++i) {
          if (part == failing && i == wait) throw std::bad_alloc();
          barrier.wait();
          ++passed;
        }
        if (part == failing && wait == kWaits) throw std::bad_alloc();
      };
      require(thrown([&] { in_step(threads, body); }) == -1, "a thread of a step that throws", "any");
      require(passed <= wait * threads, "nobody passes a barrier that somebody left", "any");
    }
  }
}

inline void check_loop() {
  constexpr std::size_t count = 1000, work = 1 << 20;
  for (const std::size_t failing : {std::size_t{0}, count / 2, count - 1}) {
    const auto call = [&] {
      parallel_for(count, work, [&](std::size_t first, std::size_t last) {
        if (first <= failing && failing < last) throw std::bad_alloc();
      });
    };
    require(thrown(call) == -1, "a loop that throws", "any");
  }
}

inline void check() {
  for (int round = 0; round < 20; ++round) {
    for (const std::size_t parts : {1, 2, 3, 5}) {
      check_pool(parts);
      check_step(parts);
    }
    check_inner_parts();
    check_loop();
  }
}

}  // namespace failing
