#include "aio/posix/worker_pool.h"

#include "aio/posix/execute.h"

namespace blockexport::aio::posix {

WorkerPool::WorkerPool(std::uint32_t threads_max, std::move_only_function<void()> wake)
    : threads_max_(threads_max), wake_(std::move(wake)) {}

WorkerPool::~WorkerPool() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::submit(Operation& operation) {
  std::lock_guard lock(mutex_);
  waiting_.push_back(operation);
  ++waiting_count_;
  if (waiting_count_ > idle_ && threads_.size() < threads_max_) {
    threads_.emplace_back([this] { work(); });
  } else {
    work_ready_.notify_one();
  }
}

void WorkerPool::take_completed(OperationList& completed) {
  std::lock_guard lock(mutex_);
  completed.splice_back(completed_);
}

void WorkerPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (waiting_.empty() && !ending_) {
      ++idle_;
      work_ready_.wait(lock);
      --idle_;
    }
    if (waiting_.empty()) return;
    Operation& operation = waiting_.pop_front();
    --waiting_count_;
    lock.unlock();
    execute(operation);
    lock.lock();
    bool first = completed_.empty();
    completed_.push_back(operation);
    if (first) wake_();
  }
}

}  // namespace blockexport::aio::posix
