// What a thread throws, carried over to the one that waits for it.
#pragma once

#include <atomic>
#include <exception>
#include <utility>

namespace tersor {

// An exception that leaves a thread's function ends the process, and one that leaves the caller's takes what
// the threads still work on from under them: all are held back until all are through.
class FirstFailure {
 public:
  // Runs `work`; keeps what it throws, if it is the first.
  template <typename Work>
  void guard(const Work& work) noexcept {
    try {
      work();
    } catch (...) {
      if (!failed_.exchange(true)) first_ = std::current_exception();
    }
  }

  // For the caller, when all are through: throws what was kept, and forgets it.
  void rethrow() {
    if (failed_.exchange(false)) std::rethrow_exception(std::exchange(first_, nullptr));
  }

 private:
  std::atomic<bool> failed_{false};
  std::exception_ptr first_;
};

}  // namespace tersor
