// WorkerPool: threads that execute operations which would make a reactor wait.
//
// One per backend. Threads are started when work waits and none is idle, up to a limit, and end with the pool. What is
// done is handed back through take_completed() after `wake` was called. Thread: submit() and take_completed() belong to
// the reactor's; the workers touch only operations that were submitted.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "aio/operation.h"

namespace blockexport::aio::posix {

class WorkerPool {
 public:
  WorkerPool(std::uint32_t threads_max, std::move_only_function<void()> wake);
  ~WorkerPool();

  void submit(Operation& operation);
  void take_completed(OperationList& completed);

 private:
  void work();

  std::uint32_t threads_max_;
  std::move_only_function<void()> wake_;
  std::mutex mutex_;
  std::condition_variable work_ready_;
  OperationList waiting_;
  OperationList completed_;
  std::vector<std::thread> threads_;
  std::uint32_t idle_ = 0;
  std::uint32_t waiting_count_ = 0;
  bool ending_ = false;
};

}  // namespace blockexport::aio::posix
