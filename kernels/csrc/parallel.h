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
/// there is no pool to keep consistent across fork(), unless `share_openmp_threads` found one. When
/// the system refuses a thread, the work is left to the workers that could be started: `body` must
/// take its share from a common counter. The first exception of any worker is rethrown here.
void run_workers(int workers, const std::function<void(int)>& body);

/// From now on workers are threads of the OpenMP runtime that this process has loaded.
///
/// Between two parallel regions OpenMP's threads spin for some milliseconds: they hold the
/// processors that our own threads would need right after an operator of, say, torch. After fork()
/// a child, in which that runtime cannot be used, has threads of its own again.
///
/// @return Whether there is an OpenMP runtime among the global symbols of the process.
bool share_openmp_threads();

}  // namespace crosscam
