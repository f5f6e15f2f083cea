// The awaitable operations of Reactor: each fills in an Operation. An operation is not cancellable when it must not be
// left half done, or when it ends soon by itself; see Operation::cancellable.
#include <algorithm>
#include <cassert>
#include <utility>

#include "aio/operation/file_map.h"
#include "aio/reactor/reactor.h"

namespace blockexport::aio {
namespace {

template <class Value, class Fill>
OperationAwaiter<Value> operation(Reactor& reactor, OperationKind kind, std::source_location where, Fill fill) {
  return OperationAwaiter<Value>(reactor, kind, fill, where);
}

}  // namespace

OperationAwaiter<std::uint32_t> Reactor::poll(int fd, std::uint32_t events, Where where) {
  return operation<std::uint32_t>(*this, OperationKind::kPoll, where, [=](Operation& o) {
    o.fd = fd;
    o.events = events;
  });
}

OperationAwaiter<std::size_t> Reactor::read(int fd, std::span<const iovec> vectors, std::uint64_t offset,
                                            Caching caching, Where where) {
  return operation<std::size_t>(*this, OperationKind::kRead, where, [=](Operation& o) {
    o.fd = fd;
    o.vectors = vectors;
    o.offset = offset;
    o.caching = caching;
    o.cancellable = false;
  });
}

OperationAwaiter<std::size_t> Reactor::write(int fd, std::span<const iovec> vectors, std::uint64_t offset,
                                             bool data_sync, Caching caching, Where where) {
  return operation<std::size_t>(*this, OperationKind::kWrite, where, [=](Operation& o) {
    o.fd = fd;
    o.vectors = vectors;
    o.offset = offset;
    o.data_sync = data_sync;
    o.caching = caching;
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

OperationAwaiter<void> Reactor::map(int fd, std::uint64_t offset, std::uint64_t length, FileMap& map, Where where) {
  return operation<void>(*this, OperationKind::kMap, where, [fd, offset, length, &map](Operation& o) {
    o.fd = fd;
    o.offset = offset;
    o.length = std::min(length, kMapBytesMax);
    o.map = &map;
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
    o.abandonable = true;
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

OperationAwaiter<std::int64_t> Reactor::call_abandonably(std::int64_t (*function)(void*),
                                                         const std::shared_ptr<void>& argument, Where where) {
  return operation<std::int64_t>(*this, OperationKind::kCall, where, [function, &argument](Operation& o) {
    o.function = function;
    o.argument = argument.get();
    o.shared_argument = &argument;
    o.abandonable = true;
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

bool TimerAwaiter::begin() {
  if (root_->cancelled) {
    cancelled_ = true;
    return false;
  }
  root_->waiting = this;
  root_->where = where_;
  assert(reactor_.is_own_thread());
  reactor_.timers_.add(*this);
  return true;
}

void TimerAwaiter::cancel() {
  cancelled_ = true;
  reactor_.timers_.remove(*this);
  resume_soon();
}

void TimerAwaiter::resume_soon() {
  root_->waiting = nullptr;
  reactor_.schedule(waiter_, root_);
}

}  // namespace blockexport::aio
