// Operation: one request to the kernel (or to the simulation) that a task waits for.
//
// It lives in the frame of the task that awaits it; the backend links it into its own lists while it is under way. A
// frame with an operation under way is never destroyed. Buffers that it names must live until it completes. One that is
// abandonable completes as soon as it is cancelled, though a worker is still inside of the call: that worker has all it
// needs for itself, and what the call gives at last is let go.
// Thread: its reactor's, except that a worker thread executes it in between.
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <expected>
#include <memory>
#include <source_location>
#include <span>

#include "aio/file_info.h"
#include "aio/task.h"
#include "base/errno.h"
#include "base/intrusive_list.h"

namespace blockexport::aio {

struct FileMap;

enum class OperationKind : std::uint8_t {
  kPoll,      // until fd is ready for `events` (POLLIN, POLLOUT); result: revents
  kRead,      // preadv: result: bytes, which may be fewer than asked for
  kWrite,     // pwritev: result: bytes; `data_sync` makes them durable first (RWF_DSYNC)
  kSync,      // fdatasync
  kAllocate,  // fallocate(mode, offset, length)
  kTruncate,  // ftruncate(length)
  kMap,       // the runs of data and holes of offset, length, added to *map (aio/file_map.h); result 0
  kPrefetch,  // posix_fadvise(WILLNEED) over offset, length
  kDiscard,   // BLKDISCARD over offset, length (block devices)
  kZeroOut,   // BLKZEROOUT over offset, length (block devices)
  kOpen,      // open(path, mode = flags, permissions 0666); result: a descriptor
  kStat,      // fstat, or what stands for it; result 0 and *info filled in
  kLock,      // OFD lock of one byte at `offset`; mode = F_RDLCK, F_WRLCK or F_UNLCK; never waits
  kTestLock,  // whether a mode lock at `offset` could be had; result: 0 free, 1 taken
  kCall,      // run `function(argument)`, or of `*shared_argument`, on a worker; result: what it returns
  kClose,     // close(fd); result 0
};

// Whether a transfer leaves pages in the page cache that it brought there itself. kDrop (RWF_DONTCACHE, Linux 6.14) is
// refused with EOPNOTSUPP where the kernel or the file system has no such thing; pages that were there before stay.
// kBypass: the descriptor goes around the cache anyway (O_DIRECT); memory that such transfers use often may be pinned.
enum class Caching : std::uint8_t { kKeep, kDrop, kBypass };

struct Operation : ListLink<Operation>, Waiting {
  explicit Operation(Reactor& on, OperationKind what) : reactor(on), kind(what) {}
  void cancel() final;

  Reactor& reactor;
  OperationKind kind;
  bool cancellable = true;   // files' data operations are not: what was started is finished (the stale-write fence)
  bool abandonable = false;  // of a worker's: see above
  bool data_sync = false;
  Caching caching = Caching::kKeep;  // of kRead and kWrite
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
  const std::shared_ptr<void>* shared_argument = nullptr;  // of an abandonable call, which shares it with its worker
  std::uintptr_t backend_data = 0;                         // the backend's own

  std::int64_t result = 0;  // zero or more, or minus an errno

  TaskRoot* root = nullptr;
  std::coroutine_handle<> waiter;
};

using OperationList = IntrusiveList<Operation>;

// co_await of an Operation, as Value.
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
  // Hands it to the reactor; false when it is finished already (cancelled before it began).
  static bool begin(Operation& operation, std::source_location where);

  std::source_location where_;
};

// The same for every Value; defined in reactor.cc.
bool begin_operation(Operation& operation, std::source_location where);

template <class Value>
bool OperationAwaiter<Value>::begin(Operation& operation, std::source_location where) {
  return begin_operation(operation, where);
}

}  // namespace blockexport::aio
