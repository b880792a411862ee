#include "parallel.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

namespace {

std::atomic<int> regions{0};
unsigned most_threads = 100;

}  // namespace

/// Stands in for an OpenMP runtime, whose teams may be smaller than asked for.
extern "C" __attribute__((visibility("default"))) void GOMP_parallel(void (*body)(void*),
                                                                     void* data, unsigned count,
                                                                     unsigned) {
  ++regions;
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::min(count, most_threads); ++i) threads.emplace_back(body, data);
  body(data);
  for (std::thread& thread : threads) thread.join();
}

namespace {

void every_worker_runs_once() {
  for (const int workers : {1, 2, 5}) {
    std::vector<std::atomic<int>> calls(static_cast<size_t>(workers));
    crosscam::run_workers(workers, [&](int worker) { ++calls[static_cast<size_t>(worker)]; });
    for (const auto& count : calls) CHECK(count == 1);
  }
}

void an_exception_reaches_the_caller_after_all_workers_ended() {
  std::atomic<int> ended{0};
  std::string message;
  try {
    crosscam::run_workers(4, [&](int worker) {
      ++ended;
      if (worker == 2) throw std::runtime_error("worker 2");
    });
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  CHECK(message == "worker 2");
  CHECK(ended == 4);
}

void a_smaller_team_leaves_the_work_to_those_who_came() {
  most_threads = 2;
  std::atomic<int> taken{0};
  std::atomic<int64_t> next{0};
  crosscam::run_workers(4, [&](int) {
    while (next++ < 1000) ++taken;
  });
  most_threads = 100;
  CHECK(taken == 1000);
}

void a_forked_child_has_threads_of_its_own() {
  const pid_t child = fork();
  if (child == 0) {
    const int before = regions;
    every_worker_runs_once();
    _exit(regions == before ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

}  // namespace

int main() {
  every_worker_runs_once();
  an_exception_reaches_the_caller_after_all_workers_ended();
  CHECK(regions == 0);
  CHECK(crosscam::share_openmp_threads());
  every_worker_runs_once();
  CHECK(regions == 2);  // a single worker needs no team
  an_exception_reaches_the_caller_after_all_workers_ended();
  a_smaller_team_leaves_the_work_to_those_who_came();
  a_forked_child_has_threads_of_its_own();
  CHECK(crosscam::worker_count(3) == 3);
  CHECK(crosscam::worker_count(0) >= 1);
  return 0;
}
