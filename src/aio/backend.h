// Backend: how a reactor reaches the kernel. Three exist: io_uring, epoll with worker threads, and a simulation.
//
// One backend per reactor, owned by it. Nobody outside aio/ names one: the kind is chosen once, at start.
// Thread: the reactor's, except wake().
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "aio/hang_up_watch.h"
#include "aio/operation.h"
#include "aio/slabs.h"
#include "base/clock.h"
#include "base/error.h"

namespace blockexport::aio {

class Backend {
 public:
  virtual ~Backend() = default;

  // "io_uring", "epoll" or "simulation".
  virtual std::string_view name() const = 0;

  // Begins `operation`. It completes by appearing in the list of a later wait(), never inside this call.
  virtual void submit(Operation& operation) = 0;

  // Asks an operation that was submitted to end early. It still appears in wait()'s list, once, with -ECANCELED or
  // with its real result.
  virtual void cancel(Operation& operation) = 0;

  // Hands everything submitted to the kernel, waits until something completes, `deadline_ns` (of clock()) passes or
  // wake() is called, and appends what has completed. A deadline in the past means: look, do not wait.
  // False when it would wait for ever because nothing is under way; only a simulation can tell.
  [[nodiscard]] virtual bool wait(std::uint64_t deadline_ns, OperationList& completed) = 0;

  // Whether a cancelled operation's worker is still inside of its call: the destructor would wait for it.
  virtual bool has_abandoned_calls() { return false; }

  // Makes the current or the next wait() return soon. Any thread; async-signal-safe.
  virtual void wake() = 0;

  virtual const Clock& clock() const = 0;

  // How often this thread has waited in the kernel so far, rather than been put aside by it. Costs a system call.
  virtual std::uint64_t times_waited() const = 0;
  // Whether it has since times_waited() gave `before`. False for a thread that is traced: its tracer stops it at every
  // call, and what it waits for cannot be told from that.
  virtual bool has_waited_since(std::uint64_t before) const = 0;

  // Calls that never wait. EAGAIN when the answer is not at hand; the caller then awaits kPoll, or the operation.
  virtual IoCount try_receive(int fd, std::span<std::byte> buffer) = 0;
  virtual IoCount try_send(int fd, std::span<const iovec> vectors) = 0;
  // Sends `head`, which may be empty, and behind it `length` > 0 bytes of `file` from its page cache, without copying
  // them. Counts both; may be short. Nothing left to send but a file that ends before `offset`: ENODATA.
  // It waits for the disk where is_cached() would say no.
  virtual IoCount try_send_file(int fd, std::span<const iovec> head, int file, std::uint64_t offset,
                                std::uint64_t length) = 0;
  // Whether these bytes of a file are in the page cache now and can be used without waiting for the disk.
  virtual bool is_cached(int file, std::uint64_t offset, std::uint64_t length) = 0;
  // From the page cache only (RWF_NOWAIT); may be short. EAGAIN or EOPNOTSUPP: use kRead. The kernel may begin to read
  // what is not there, for which `caching` holds too.
  virtual IoCount try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset, Caching caching) = 0;
  // The same from a file whose file system lives in memory: Linux knows no RWF_NOWAIT there. It waits for what was
  // swapped out only.
  virtual IoCount try_read_memory(int fd, std::span<const iovec> vectors, std::uint64_t offset) = 0;
  // A buffered write that is a copy into the page cache; may be short. EAGAIN: use kWrite.
  virtual IoCount try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset) = 0;
  // fstat() of a file whose map was `exact` (aio/file_map.h): on such file systems it never waits.
  virtual IoResult try_stat(int fd, FileInfo& info) = 0;
  // accept4(NONBLOCK|CLOEXEC); a descriptor.
  virtual std::expected<int, Errno> try_accept(int fd) = 0;
  // Wakes both directions of a connection for good: shutdown(SHUT_RDWR).
  virtual void shut_down(int fd) = 0;
  // The memory that transfers use again and again, which may be pinned for those of kBypass; null: no more. It outlives
  // the backend, or is taken off.
  virtual void use_slabs(const Slabs*) {}
  // Some of it went back to the system.
  virtual void slabs_trimmed() {}
  // A promise that `fd` will be closed through this backend only: by close() or kClose. Polling it may cost less then.
  virtual void keep_watch(int) {}
  // Takes the promise back, to close `fd` elsewhere. Nobody waits on it.
  virtual void drop_watch(int) {}
  // Tells `watch` from now on, through collect_hang_ups(), that the peer of the connected socket `fd` has closed its
  // end; until forget_hang_up(), which comes before the descriptor is closed or carried to another reactor.
  virtual IoResult watch_hang_up(int fd, HangUpWatch& watch) = 0;
  virtual void forget_hang_up(int fd) = 0;
  // Appends the watches whose peers have hung up by now: each at least once, in one of the calls after it did.
  virtual void collect_hang_ups(std::vector<HangUpWatch*>& hung_up) = 0;
  // Closes at once; no operation may be under way on it.
  virtual void close(int fd) = 0;
  // The same for a file, which nobody has watched. Any thread.
  virtual void close_file(int fd) = 0;
};

}  // namespace blockexport::aio
