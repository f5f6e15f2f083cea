#include "aio/posix/worker_pool.h"

#include <csignal>

#include "aio/posix/execute.h"

namespace blockexport::aio::posix {

WorkerPool::WorkerPool(std::uint32_t threads_max, WakeEvent& wake) : threads_max_(threads_max), wake_(wake) {}

WorkerPool::~WorkerPool() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_ready_.notify_all();
  for (pthread_t thread : threads_) pthread_join(thread, nullptr);
}

void WorkerPool::submit(Operation& operation) {
  bool more_threads;
  {
    std::lock_guard lock(mutex_);
    more_threads = waiting_count_ + 1 > idle_ && threads_.size() < threads_max_;
  }
  if (more_threads) start_thread();
  if (threads_.empty()) {
    execute(operation);
    std::lock_guard lock(mutex_);
    completed_.push_back(operation);
    wake_.wake();
    return;
  }
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(operation);
    ++waiting_count_;
  }
  work_ready_.notify_one();
}

void WorkerPool::take_completed(OperationList& completed) {
  std::lock_guard lock(mutex_);
  completed.splice_back(completed_);
}

bool WorkerPool::start_thread() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto body = [](void* pool) -> void* {
    static_cast<WorkerPool*>(pool)->work();
    return nullptr;
  };
  pthread_t thread;
  bool started = pthread_create(&thread, nullptr, body, this) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (started) threads_.push_back(thread);
  return started;
}

void WorkerPool::work() {
  pthread_setname_np(pthread_self(), "file-worker");
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
    if (first) wake_.wake();
  }
}

}  // namespace blockexport::aio::posix
