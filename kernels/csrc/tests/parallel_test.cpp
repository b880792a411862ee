#include "parallel.h"

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"

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

}  // namespace

int main() {
  every_worker_runs_once();
  an_exception_reaches_the_caller_after_all_workers_ended();
  CHECK(crosscam::worker_count(3) == 3);
  CHECK(crosscam::worker_count(0) >= 1);
  return 0;
}
