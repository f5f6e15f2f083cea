#include "aio/posix/worker_pool.h"

#include <csignal>

#include "aio/posix/abandonable_call.h"
#include "aio/posix/execute.h"

namespace blockexport::aio::posix {
namespace {

// Values of Operation::backend_data for operations of this pool.
constexpr std::uintptr_t kWaiting = 0;
constexpr std::uintptr_t kBegun = 1;
constexpr std::uintptr_t kDone = 2;

}  // namespace

WorkerPool::WorkerPool(std::uint32_t threads_max, WakeEvent& wake, const SystemCalls& calls)
    : threads_max_(threads_max), wake_(wake), calls_(calls) {}

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
    operation.backend_data = kWaiting;
    if (operation.abandonable && abandoned_ >= kAbandonedCallsMax) return complete(operation, -EAGAIN);
    more_threads = waiting_count_ + 1 > idle_ && threads_.size() < threads_max_ + abandoned_;
  }
  if (more_threads) start_thread();
  if (threads_.empty()) {
    if (!operation.abandonable) execute(operation, calls_);
    std::lock_guard lock(mutex_);
    return complete(operation, operation.abandonable ? -EAGAIN : operation.result);
  }
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(operation);
    ++waiting_count_;
  }
  work_ready_.notify_one();
}

void WorkerPool::abandon(Operation& operation) {
  bool more_threads;
  {
    std::lock_guard lock(mutex_);
    if (operation.backend_data == kDone) return;
    if (operation.backend_data == kWaiting) {
      operation.unlink();
      --waiting_count_;
    }
    for (Begun& begun : begun_) {
      if (begun.operation != &operation) continue;
      begun.operation = nullptr;
      ++abandoned_;
    }
    complete(operation, -ECANCELED);
    more_threads = waiting_count_ > idle_;
  }
  // Gives operations that waited for that worker another thread.
  if (more_threads) start_thread();
}

std::uint32_t WorkerPool::abandoned() {
  std::lock_guard lock(mutex_);
  return abandoned_;
}

// Called with the mutex held.
void WorkerPool::complete(Operation& operation, std::int64_t result) {
  operation.result = result;
  operation.backend_data = kDone;
  const bool first = completed_.empty();
  completed_.push_back(operation);
  if (first) wake_.wake();
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
    if (operation.abandonable) {
      execute_alone(operation, lock);
      continue;
    }
    lock.unlock();
    execute(operation, calls_);
    lock.lock();
    complete(operation, operation.result);
  }
}

// Executes from an own copy, since the operation may be destroyed at any time.
void WorkerPool::execute_alone(Operation& operation, std::unique_lock<std::mutex>& lock) {
  Begun begun;
  begun.operation = &operation;
  begun_.push_back(begun);
  operation.backend_data = kBegun;
  AbandonableCall call(operation);
  lock.unlock();
  const std::int64_t result = call.run();
  lock.lock();
  begun.unlink();
  if (begun.operation != nullptr) return complete(*begun.operation, result);
  --abandoned_;
  lock.unlock();
  call.undo(result);
  lock.lock();
}

}  // namespace blockexport::aio::posix
