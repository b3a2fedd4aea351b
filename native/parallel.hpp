// Split [0, count) over a few threads. Threads live for one call: the work handed over is
// milliseconds long, and a library that keeps no pool is safe to fork.
#pragma once

#include <algorithm>
#include <cstddef>
#include <thread>
#include <vector>

namespace tersor {

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
  std::vector<std::jthread> pool;
  pool.reserve(threads - 1);
  for (std::size_t t = 1; t < threads; ++t) {
    pool.emplace_back([&, t] { body(count * t / threads, count * (t + 1) / threads); });
  }
  body(std::size_t{0}, count / threads);
}

}  // namespace tersor
