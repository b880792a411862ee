#pragma once

#include <functional>

namespace crosscam {

/// Number of workers to use: `requested` when positive, else the processors this process may run
/// on.
int worker_count(int requested);

/// Runs `body(worker)` for worker = 0 .. workers - 1 at the same time and returns when all are
/// done.
///
/// Worker 0 runs on the calling thread; the others are threads that live for this call only, so
/// there is no pool to keep consistent across fork(). When the system refuses a thread, the work is
/// left to the workers that could be started: `body` must take its share from a common counter. The
/// first exception of any worker is rethrown here.
void run_workers(int workers, const std::function<void(int)>& body);

}  // namespace crosscam
