#include "aio/reactor.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "aio/current.h"
#include "aio/epoll/epoll_backend.h"

namespace blockexport::aio {
namespace {

template <class Value, class Fill>
OperationAwaiter<Value> operation(Reactor& reactor, OperationKind kind, std::source_location where, Fill fill) {
  return OperationAwaiter<Value>(reactor, kind, fill, where);
}

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::create(ReactorOptions options, const Log& log) {
  TRY_ASSIGN(std::unique_ptr<Backend> backend, make_epoll_backend(options.worker_threads_max));
  return std::unique_ptr<Reactor>(new Reactor(std::move(backend), options, &log));
}

Reactor::Reactor(std::unique_ptr<Backend> backend, ReactorOptions options, const Log* log)
    : backend_(std::move(backend)), options_(options), log_(log) {}

Reactor::~Reactor() = default;

void Reactor::run() {
  stopping_ = false;
  while (!stopping_) run_once(UINT64_MAX);
}

void Reactor::stop() {
  post([this] { stopping_ = true; });
}

void Reactor::post(std::move_only_function<void()> work) {
  {
    std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(work));
  }
  backend_->wake();
}

void Reactor::schedule(std::coroutine_handle<> waiter) { scheduled_.push_back(waiter); }

void NextTurnAwaiter::resume_next_turn(Reactor& reactor, std::coroutine_handle<> waiter) { reactor.schedule(waiter); }

bool Reactor::run_once(std::uint64_t timeout_ns) {
  std::uint64_t now = now_ns();
  std::uint64_t deadline = timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
  deadline = std::min(deadline, timers_.next_deadline_ns());
  if (!scheduled_.empty() || !ready_.empty()) deadline = 0;
  backend_->wait(deadline, ready_);
  now = now_ns();
  while (std::coroutine_handle<> due = timers_.take_due(now)) scheduled_.push_back(due);
  bool ran = !ready_.empty() || !scheduled_.empty();
  run_posted();
  run_ready();
  return ran;
}

void Reactor::run_posted() {
  std::vector<std::move_only_function<void()>> work;
  {
    std::lock_guard lock(posted_mutex_);
    work.swap(posted_);
  }
  for (auto& item : work) item();
}

// What becomes ready meanwhile waits for the next turn, so that no task keeps the others from the kernel.
void Reactor::run_ready() {
  std::vector<std::coroutine_handle<>> scheduled;
  scheduled.swap(scheduled_);
  OperationList ready;
  ready.splice_back(ready_);
  for (std::coroutine_handle<> waiter : scheduled) waiter.resume();
  while (!ready.empty()) {
    Operation& done = ready.pop_front();
    done.under_way = false;
    done.root->waiting = nullptr;
    done.waiter.resume();
  }
}

void Operation::cancel() { reactor.backend_->cancel(*this); }

bool begin_operation(Operation& operation, std::source_location where) {
  TaskRoot& root = *operation.root;
  if (operation.cancellable && root.cancelled) {
    operation.result = -ECANCELED;
    return false;
  }
  root.where = where;
  root.waiting = operation.cancellable ? &operation : nullptr;
  operation.under_way = true;
  operation.reactor.backend_->submit(operation);
  return true;
}

OperationAwaiter<std::uint32_t> Reactor::poll(int fd, std::uint32_t events, Where where) {
  return operation<std::uint32_t>(*this, OperationKind::kPoll, where, [=](Operation& o) {
    o.fd = fd;
    o.events = events;
  });
}

OperationAwaiter<std::size_t> Reactor::read(int fd, std::span<const iovec> vectors, std::uint64_t offset, Where where) {
  return operation<std::size_t>(*this, OperationKind::kRead, where, [=](Operation& o) {
    o.fd = fd;
    o.vectors = vectors;
    o.offset = offset;
    o.cancellable = false;
  });
}

OperationAwaiter<std::size_t> Reactor::write(int fd, std::span<const iovec> vectors, std::uint64_t offset,
                                             bool data_sync, Where where) {
  return operation<std::size_t>(*this, OperationKind::kWrite, where, [=](Operation& o) {
    o.fd = fd;
    o.vectors = vectors;
    o.offset = offset;
    o.data_sync = data_sync;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::sync(int fd, Where where) {
  return operation<void>(*this, OperationKind::kSync, where, [=](Operation& o) {
    o.fd = fd;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length, Where where) {
  return operation<void>(*this, OperationKind::kAllocate, where, [=](Operation& o) {
    o.fd = fd;
    o.mode = mode;
    o.offset = offset;
    o.length = length;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::truncate(int fd, std::uint64_t length, Where where) {
  return operation<void>(*this, OperationKind::kTruncate, where, [=](Operation& o) {
    o.fd = fd;
    o.length = length;
    o.cancellable = false;
  });
}

OperationAwaiter<std::uint64_t> Reactor::seek(int fd, std::uint64_t offset, int whence, Where where) {
  return operation<std::uint64_t>(*this, OperationKind::kSeek, where, [=](Operation& o) {
    o.fd = fd;
    o.offset = offset;
    o.mode = whence;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::prefetch(int fd, std::uint64_t offset, std::uint64_t length, Where where) {
  return operation<void>(*this, OperationKind::kPrefetch, where, [=](Operation& o) {
    o.fd = fd;
    o.offset = offset;
    o.length = length;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::discard(int fd, std::uint64_t offset, std::uint64_t length, Where where) {
  return operation<void>(*this, OperationKind::kDiscard, where, [=](Operation& o) {
    o.fd = fd;
    o.offset = offset;
    o.length = length;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::zero_out(int fd, std::uint64_t offset, std::uint64_t length, Where where) {
  return operation<void>(*this, OperationKind::kZeroOut, where, [=](Operation& o) {
    o.fd = fd;
    o.offset = offset;
    o.length = length;
    o.cancellable = false;
  });
}

OperationAwaiter<int> Reactor::open(const char* path, int flags, Where where) {
  return operation<int>(*this, OperationKind::kOpen, where, [=](Operation& o) {
    o.path = path;
    o.mode = flags;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::stat(int fd, FileInfo& info, Where where) {
  return operation<void>(*this, OperationKind::kStat, where, [fd, &info](Operation& o) {
    o.fd = fd;
    o.info = &info;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::lock(int fd, std::uint64_t offset, int mode, Where where) {
  return operation<void>(*this, OperationKind::kLock, where, [=](Operation& o) {
    o.fd = fd;
    o.offset = offset;
    o.mode = mode;
    o.cancellable = false;
  });
}

OperationAwaiter<std::uint32_t> Reactor::test_lock(int fd, std::uint64_t offset, int mode, Where where) {
  return operation<std::uint32_t>(*this, OperationKind::kTestLock, where, [=](Operation& o) {
    o.fd = fd;
    o.offset = offset;
    o.mode = mode;
    o.cancellable = false;
  });
}

OperationAwaiter<std::int64_t> Reactor::call(std::int64_t (*function)(void*), void* argument, Where where) {
  return operation<std::int64_t>(*this, OperationKind::kCall, where, [=](Operation& o) {
    o.function = function;
    o.argument = argument;
    o.cancellable = false;
  });
}

OperationAwaiter<void> Reactor::close(int fd, Where where) {
  return operation<void>(*this, OperationKind::kClose, where, [=](Operation& o) {
    o.fd = fd;
    o.cancellable = false;
  });
}

TimerAwaiter Reactor::sleep_until(std::uint64_t deadline_ns, Where where) {
  return TimerAwaiter(*this, deadline_ns, where);
}

}  // namespace blockexport::aio
