// Operation: one asynchronous request to the kernel (or to the simulation) that a task awaits.
//
// It lives in the frame of the awaiting task; the backend links it into its own lists while it is under way. A frame
// with an operation under way is never destroyed, and buffers that it names live until it completes. An abandonable
// operation completes as soon as it is cancelled, even though a worker is still inside the call: that worker owns
// copies of all it needs, and releases the call's late result. Thread: its reactor's, except that a worker thread
// executes it in between.
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <expected>
#include <memory>
#include <source_location>
#include <span>

#include "aio/operation/file_info.h"
#include "aio/task/task.h"
#include "base/errno.h"
#include "base/intrusive_list.h"

namespace blockexport::aio {

struct FileMap;

enum class OperationKind : std::uint8_t {
  kPoll,      // waits until fd is ready for `events` (POLLIN, POLLOUT); result: revents
  kRead,      // preadv; result: bytes, which may be fewer than requested
  kWrite,     // pwritev; result: bytes; with `data_sync` they are durable (RWF_DSYNC)
  kSync,      // fdatasync
  kAllocate,  // fallocate(mode, offset, length)
  kTruncate,  // ftruncate(length)
  kMap,       // adds the runs of data and holes of offset, length to *map (aio/operation/file_map.h); result: 0
  kPrefetch,  // posix_fadvise(WILLNEED) over offset, length
  kDiscard,   // BLKDISCARD over offset, length (block devices)
  kZeroOut,   // BLKZEROOUT over offset, length (block devices)
  kOpen,      // open(path, mode = flags, permissions 0666); result: a descriptor
  kStat,      // fstat, or its simulation; fills *info; result: 0
  kLock,      // OFD lock of one byte at `offset`; mode = F_RDLCK, F_WRLCK or F_UNLCK; never waits
  kTestLock,  // whether a lock of `mode` at `offset` is possible; result: 0 free, 1 taken
  kCall,      // runs `function(argument)`, or with `*shared_argument`, on a worker; result: its return value
  kClose,     // close(fd); result: 0
};

// True if a transfer leaves the pages that it read or wrote in the page cache. kDrop (RWF_DONTCACHE, Linux 6.14) gives
// EOPNOTSUPP where the kernel or the file system does not support it; it keeps pages that were cached before. kBypass:
// the descriptor is O_DIRECT; memory that such transfers use often may be pinned.
enum class Caching : std::uint8_t { kKeep, kDrop, kBypass };

struct Operation : ListLink<Operation>, Waiting {
  explicit Operation(Reactor& on, OperationKind what) : reactor(on), kind(what) {}
  void cancel() final;

  Reactor& reactor;
  OperationKind kind;
  bool cancellable = true;   // false for data operations on files: they always finish (see
                             // nbd/transmission/write_fence.h)
  bool abandonable = false;  // for operations on workers: see the top of this file
  bool data_sync = false;
  Caching caching = Caching::kKeep;  // for kRead and kWrite
  bool under_way = false;
  int fd = -1;
  int mode = 0;
  std::uint32_t events = 0;
  std::span<const iovec> vectors;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  const char* path = nullptr;
  FileInfo* info = nullptr;
  FileMap* map = nullptr;
  std::int64_t (*function)(void*) = nullptr;
  void* argument = nullptr;
  const std::shared_ptr<void>* shared_argument = nullptr;  // argument of an abandonable kCall, shared with its worker
  std::uintptr_t backend_data = 0;                         // private to the backend

  std::int64_t result = 0;  // zero or more, or minus an errno

  TaskRoot* root = nullptr;
  std::coroutine_handle<> waiter;
};

using OperationList = IntrusiveList<Operation>;

// Awaiter of an Operation whose result is a Value.
template <class Value>
class [[nodiscard]] OperationAwaiter : Operation {
 public:
  template <class Fill>
  OperationAwaiter(Reactor& on, OperationKind what, Fill fill, std::source_location where)
      : Operation(on, what), where_(where) {
    fill(static_cast<Operation&>(*this));
  }
  bool await_ready() { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> parent) {
    root = &parent.promise().root();
    waiter = parent;
    return begin(*this, where_);
  }
  std::expected<Value, Errno> await_resume() {
    if (result < 0) return fail(static_cast<int>(-result));
    if constexpr (std::is_void_v<Value>) {
      return {};
    } else {
      return static_cast<Value>(result);
    }
  }

 private:
  // Submits it to the reactor; false when it has ended already (cancelled before it began).
  static bool begin(Operation& operation, std::source_location where);

  std::source_location where_;
};

// The part of OperationAwaiter::begin() that does not depend on Value; defined in reactor.cc.
bool begin_operation(Operation& operation, std::source_location where);

template <class Value>
bool OperationAwaiter<Value>::begin(Operation& operation, std::source_location where) {
  return begin_operation(operation, where);
}

}  // namespace blockexport::aio
