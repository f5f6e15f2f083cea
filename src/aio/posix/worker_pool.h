// WorkerPool: threads that execute operations which would make a reactor wait.
//
// One per backend. Threads are started when work waits and none is idle, up to a limit, and end with the pool. What is
// done is handed back through take_completed() after the reactor was woken. When the system gives no thread at all, the
// reactor does the work itself. Thread: submit() and take_completed() belong to the reactor's; the workers touch only
// operations that were submitted. All signals are blocked in workers.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "aio/operation.h"
#include "aio/posix/wake_event.h"

namespace blockexport::aio::posix {

class WorkerPool {
 public:
  // `wake` outlives the pool.
  WorkerPool(std::uint32_t threads_max, WakeEvent& wake);
  // Waits for what was submitted.
  ~WorkerPool();

  void submit(Operation& operation);
  void take_completed(OperationList& completed);

 private:
  bool start_thread();
  void work();

  std::uint32_t threads_max_;
  WakeEvent& wake_;
  std::mutex mutex_;
  std::condition_variable work_ready_;
  OperationList waiting_;
  OperationList completed_;
  std::vector<pthread_t> threads_;  // the reactor's
  std::uint32_t idle_ = 0;
  std::uint32_t waiting_count_ = 0;
  bool ending_ = false;
};

}  // namespace blockexport::aio::posix
