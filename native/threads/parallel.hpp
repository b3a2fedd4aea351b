// Split [0, count) over a few threads. Threads live for one call: the work handed over is
// milliseconds long, and a library that keeps no pool is safe to fork.
#pragma once

#include <algorithm>
#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

#include "threads/failure.hpp"

namespace tersor {

// When all are through, the first exception of any is thrown.
template <typename Body>
void parallel_for(std::size_t count, std::size_t work_per_item, const Body& body) {
  constexpr std::size_t kWorthAThread = 1 << 18;
  const std::size_t cores = std::max(1u, std::thread::hardware_concurrency());
  const std::size_t useful = count * work_per_item / kWorthAThread;
  const std::size_t threads = std::min({cores, count, std::max<std::size_t>(1, useful)});
  if (threads <= 1) {
    body(std::size_t{0}, count);
    return;
  }
  FirstFailure failure;
  const auto run = [&](std::size_t t) {
    failure.guard([&] { body(count * t / threads, count * (t + 1) / threads); });
  };
  std::vector<std::jthread> pool;
  pool.reserve(threads - 1);
  for (std::size_t t = 1; t < threads; ++t) {
    try {
      pool.emplace_back(run, t);
    } catch (const std::system_error&) {
      run(t);  // no more threads to be had
    }
  }
  run(0);
  pool.clear();
  failure.rethrow();
}

}  // namespace tersor
