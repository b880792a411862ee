#include "parallel.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace crosscam {
namespace {

/// `GOMP_parallel` of libgomp, which other runtimes offer as well: calls a function on each thread
/// of a team of at most so many, the caller's among them, and waits for all.
using Region = void (*)(void (*)(void*), void*, unsigned, unsigned);

std::atomic<Region> shared_region{nullptr};

struct Team {
  const std::function<void(int)>& body;
  int workers;
  std::atomic<int> next{0};

  static void enter(void* team) {
    auto& self = *static_cast<Team*>(team);
    const int worker = self.next++;
    if (worker < self.workers) self.body(worker);
  }
};

}  // namespace

bool share_openmp_threads() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { shared_region = nullptr; }); });
  shared_region = reinterpret_cast<Region>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return shared_region != nullptr;
}

int worker_count(int requested) {
  if (requested > 0) return requested;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void run_workers(int workers, const std::function<void(int)>& body) {
  if (workers <= 1) {
    body(0);
    return;
  }
  std::exception_ptr error;
  std::mutex error_mutex;
  const auto guarded = [&](int worker) {
    try {
      body(worker);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  };
  if (const Region region = shared_region) {
    const std::function<void(int)> each = guarded;
    Team team{each, workers};
    region(&Team::enter, &team, static_cast<unsigned>(workers), 0);
    if (error) std::rethrow_exception(error);
    return;
  }
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(workers - 1));
  for (int worker = 1; worker < workers; ++worker) {
    try {
      threads.emplace_back(guarded, worker);
    } catch (const std::system_error&) {
      break;  // out of threads: the started ones take all the work
    }
  }
  guarded(0);
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace crosscam
