#include "threads/pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "threads/failure.hpp"

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
  // False, and nothing done, if there are not threads enough and no more can be made.
  bool run(std::size_t parts, PoolWork work, void* context) {
    if (!grow(parts - 1)) return false;
    work_ = work;
    context_ = context;
    parts_ = parts;
    left_.store(static_cast<std::uint32_t>(workers_), std::memory_order_relaxed);
    turn_.fetch_add(1, std::memory_order_release);
    turn_.notify_all();
    failure_.guard([&] { work(context, 0); });
    for (std::uint32_t left; (left = left_.load(std::memory_order_acquire)) != 0;) {
      wait_for_change(left_, left);
    }
    failure_.rethrow();
    return true;
  }

  std::mutex busy;

 private:
  bool grow(std::size_t workers) {
    while (workers_ < workers) {
      const std::uint32_t turn = turn_.load(std::memory_order_relaxed);
      const std::size_t part = workers_ + 1;
      try {
        std::thread([this, part, turn] { serve(part, turn); }).detach();
      } catch (const std::system_error&) {
        return false;
      }
      workers_ = part;  // only now: nobody may wait for a thread that could not be made
    }
    return true;
  }

  void serve(std::size_t part, std::uint32_t seen) {
    for (;;) {
      wait_for_change(turn_, seen);
      ++seen;
      if (part < parts_) failure_.guard([&] { work_(context_, part); });
      if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_all();
    }
  }

  PoolWork work_ = nullptr;
  void* context_ = nullptr;
  std::size_t parts_ = 0, workers_ = 0;
  FirstFailure failure_;
  std::atomic<std::uint32_t> turn_{0}, left_{0};
};

// Never destroyed: its threads live as long as the process.
std::atomic<Pool*> shared{nullptr};

Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Threads do not survive a fork: the child makes a pool when it needs one, where it may throw.
    if (pthread_atfork(nullptr, nullptr, [] { shared = nullptr; }) != 0) throw std::bad_alloc();
  });
  Pool* found = shared.load();
  if (found != nullptr) return *found;
  Pool* const made = new Pool;
  if (shared.compare_exchange_strong(found, made)) return *made;
  delete made;
  return *found;
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
  return mine.owns_lock() && threads.run(parts, work, context);
}

void run_parts(std::size_t parts, PoolWork work, void* context) {
  if (parts > 1 && try_run_parts(parts, work, context)) return;
  for (std::size_t part = 0; part < parts; ++part) work(context, part);
}

}  // namespace tersor
