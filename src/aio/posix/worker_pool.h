// WorkerPool: threads that execute blocking operations for a reactor.
//
// One per backend. Threads are started when work waits and none is idle, up to a limit, and end with the pool. A worker
// wakes the reactor, which fetches completed operations with take_completed(). When no thread can be started at all,
// the reactor executes the work itself, except abandonable operations. Thread: the reactor's; the workers access only
// operations that were submitted and not abandoned. All signals are blocked in the workers.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "aio/operation/operation.h"
#include "aio/posix/system_calls.h"
#include "aio/posix/wake_event.h"

namespace blockexport::aio::posix {

// Most abandoned calls whose threads are still inside them. Each has a thread beyond the pool's limit, so that it does
// not delay other work.
inline constexpr std::uint32_t kAbandonedCallsMax = 8;

class WorkerPool {
 public:
  // `wake` and `calls` outlive the pool.
  WorkerPool(std::uint32_t threads_max, WakeEvent& wake, const SystemCalls& calls = kSystemCalls);
  // Waits for all submitted and all abandoned operations.
  ~WorkerPool();

  // An abandonable operation completes with EAGAIN while kAbandonedCallsMax calls are abandoned.
  void submit(Operation& operation);
  void take_completed(OperationList& completed);

  // Completes an abandonable operation with ECANCELED at once, unless it has completed already.
  void abandon(Operation& operation);
  // The number of workers inside abandoned calls.
  std::uint32_t abandoned();

 private:
  // An abandonable operation that a worker executes; on the worker's stack.
  struct Begun : ListLink<Begun> {
    Operation* operation = nullptr;  // null: abandoned
  };

  bool start_thread();
  void work();
  void execute_alone(Operation& operation, std::unique_lock<std::mutex>& lock);
  void complete(Operation& operation, std::int64_t result);

  std::uint32_t threads_max_;
  WakeEvent& wake_;
  const SystemCalls& calls_;
  std::mutex mutex_;
  std::condition_variable work_ready_;
  OperationList waiting_;
  OperationList completed_;
  IntrusiveList<Begun> begun_;
  std::vector<pthread_t> threads_;  // used on the reactor's thread only
  std::uint32_t idle_ = 0;
  std::uint32_t waiting_count_ = 0;
  std::uint32_t abandoned_ = 0;
  bool ending_ = false;
};

}  // namespace blockexport::aio::posix
