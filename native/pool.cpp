#include "pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <mutex>
#include <thread>
#include <vector>

namespace tersor {
namespace {

// About 20 microseconds: the next matrix of a model usually comes within that.
constexpr int kSpins = 1000;
// About 200 more, in which others may have the core: the next token usually comes within those, and
// waking a thread that sleeps takes as long.
constexpr int kYields = 500;

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  void run(std::size_t parts, PoolWork work, void* context) {
    grow(parts - 1);
    work_ = work;
    context_ = context;
    parts_ = parts;
    left_.store(static_cast<std::uint32_t>(workers_), std::memory_order_relaxed);
    turn_.fetch_add(1, std::memory_order_release);
    turn_.notify_all();
    work(context, 0);
    for (std::uint32_t left; (left = left_.load(std::memory_order_acquire)) != 0;) {
      wait_for_change(left_, left);
    }
  }

  std::mutex busy;

 private:
  void grow(std::size_t workers) {
    while (workers_ < workers) {
      const std::uint32_t turn = turn_.load(std::memory_order_relaxed);
      const std::size_t part = workers_ + 1;
      std::thread([this, part, turn] { serve(part, turn); }).detach();
      workers_ = part;  // only now: nobody may wait for a thread that could not be made
    }
  }

  void serve(std::size_t part, std::uint32_t seen) {
    for (;;) {
      wait_for_change(turn_, seen);
      ++seen;
      if (part < parts_) work_(context_, part);
      if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_all();
    }
  }

  PoolWork work_ = nullptr;
  void* context_ = nullptr;
  std::size_t parts_ = 0, workers_ = 0;
  std::atomic<std::uint32_t> turn_{0}, left_{0};
};

// Never destroyed: its threads live as long as the process.
std::atomic<Pool*> shared{nullptr};

Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    shared = new Pool;
    // Threads do not survive a fork.
    pthread_atfork(nullptr, nullptr, [] { shared = new Pool; });
  });
  return *shared.load();
}

}  // namespace

void wait_for_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_briefly();
  }
  for (int turn = 0; turn < kYields; ++turn) {
    if (value.load(std::memory_order_acquire) != old) return;
    sched_yield();
  }
  value.wait(old, std::memory_order_acquire);
}

bool try_run_parts(std::size_t parts, PoolWork work, void* context) {
  Pool& threads = pool();
  const std::unique_lock<std::mutex> mine(threads.busy, std::try_to_lock);
  if (!mine.owns_lock()) return false;
  threads.run(parts, work, context);
  return true;
}

void run_parts(std::size_t parts, PoolWork work, void* context) {
  if (parts > 1 && try_run_parts(parts, work, context)) return;
  for (std::size_t part = 0; part < parts; ++part) work(context, part);
}

}  // namespace tersor
