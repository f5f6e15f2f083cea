// WorkerPool: threads that execute operations which would make a reactor wait.
//
// One per backend. Threads are started when work waits and none is idle, up to a limit, and end with the pool. What is
// done is handed back through take_completed() after the reactor was woken. When the system gives no thread at all, the
// reactor does the work itself, but for what may never end. Thread: all but the threads themselves belongs to the
// reactor's; the workers touch only operations that were submitted and not abandoned. All signals are blocked in them.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "aio/operation.h"
#include "aio/posix/system_calls.h"
#include "aio/posix/wake_event.h"

namespace blockexport::aio::posix {

// Calls that nobody waits for any longer and whose threads are inside of them still. Each has a thread beside those
// that the pool may have, so that they keep no other work waiting.
inline constexpr std::uint32_t kAbandonedCallsMax = 8;

class WorkerPool {
 public:
  // `wake` and `calls` outlive the pool.
  WorkerPool(std::uint32_t threads_max, WakeEvent& wake, const SystemCalls& calls = kSystemCalls);
  // Waits for what was submitted, and for what was abandoned.
  ~WorkerPool();

  // An abandonable operation completes with EAGAIN while kAbandonedCallsMax calls are abandoned.
  void submit(Operation& operation);
  void take_completed(OperationList& completed);

  // Completes an abandonable operation with ECANCELED, whatever its worker does, unless it has completed already.
  void abandon(Operation& operation);
  // How many workers are inside of calls that were abandoned.
  std::uint32_t abandoned();

 private:
  // An abandonable operation that a worker has begun; on its stack.
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
  std::vector<pthread_t> threads_;  // the reactor's
  std::uint32_t idle_ = 0;
  std::uint32_t waiting_count_ = 0;
  std::uint32_t abandoned_ = 0;
  bool ending_ = false;
};

}  // namespace blockexport::aio::posix
