// Backend: a reactor's interface to the kernel. There are three: io_uring, epoll with worker threads, and a simulation.
//
// Each reactor owns one. Code outside aio/ names no backend: the kind is chosen once, at start. Thread: the reactor's,
// except wake() and close_file().
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "aio/memory/slabs.h"
#include "aio/operation/hang_up_watch.h"
#include "aio/operation/operation.h"
#include "base/clock.h"
#include "base/error.h"

namespace blockexport::aio {

class Backend {
 public:
  virtual ~Backend() = default;

  // "io_uring", "epoll" or "simulation".
  virtual std::string_view name() const = 0;

  // Begins `operation`. A later wait() returns it in its list; it never completes inside this call.
  virtual void submit(Operation& operation) = 0;

  // Asks a submitted operation to end early. A later wait() still returns it, once, with -ECANCELED or with its real
  // result.
  virtual void cancel(Operation& operation) = 0;

  // Hands all submitted operations to the kernel; waits until one completes, `deadline_ns` (of clock()) passes or
  // somebody calls wake(); and appends the completed ones. With a deadline in the past it does not wait. False when it
  // would wait for ever because nothing is under way; only a simulation can know that.
  [[nodiscard]] virtual bool wait(std::uint64_t deadline_ns, OperationList& completed) = 0;

  // True if wait() would return operations at once, as far as that is known without a system call.
  virtual bool has_completions() const { return false; }

  // True if the worker thread of a cancelled operation is still inside its system call. The destructor would wait for
  // it.
  virtual bool has_abandoned_calls() { return false; }

  // Makes the current or the next wait() return soon. Any thread; async-signal-safe.
  virtual void wake() = 0;

  virtual const Clock& clock() const = 0;

  // The number of voluntary context switches of this thread: how often it waited in the kernel, rather than was
  // preempted. Costs a system call.
  virtual std::uint64_t times_waited() const = 0;
  // True if the thread has waited since times_waited() returned `before`. False for a traced thread: its tracer stops
  // it at every system call, which counts as waiting too.
  virtual bool has_waited_since(std::uint64_t before) const = 0;
  // The number of involuntary context switches of this thread: how often another thread took its processor. Costs a
  // system call. Always 0 in a simulation.
  virtual std::uint64_t times_preempted() const { return 0; }

  // The try_ calls never wait. On EAGAIN the caller awaits kPoll, or the operation of the same kind.
  virtual IoCount try_receive(int fd, std::span<std::byte> buffer) = 0;
  virtual IoCount try_send(int fd, std::span<const iovec> vectors) = 0;
  // Sends `head`, which may be empty, and then `length` > 0 bytes of `file` from its page cache, without a copy. The
  // result counts both and may be short. ENODATA: `head` is empty and the file ends before `offset`. It waits for the
  // disk where is_cached() would return false.
  virtual IoCount try_send_file(int fd, std::span<const iovec> head, int file, std::uint64_t offset,
                                std::uint64_t length) = 0;
  // True if these bytes of a file are in the page cache now and can be used without waiting for the disk.
  virtual bool is_cached(int file, std::uint64_t offset, std::uint64_t length) = 0;
  // Reads from the page cache only (RWF_NOWAIT); the count may be short. EAGAIN or EOPNOTSUPP: use kRead. The kernel
  // may begin to read missing pages ahead; `caching` applies to them too.
  virtual IoCount try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset, Caching caching) = 0;
  // The same for a file on a file system in memory, for which Linux does not support RWF_NOWAIT. It waits only for
  // pages that were swapped out.
  virtual IoCount try_read_memory(int fd, std::span<const iovec> vectors, std::uint64_t offset) = 0;
  // A buffered write, which normally only copies into the page cache; the count may be short. EAGAIN: use kWrite.
  virtual IoCount try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset) = 0;
  // fstat() of a file whose FileMap was `exact` (aio/operation/file_map.h): on such file systems it never waits.
  virtual IoResult try_stat(int fd, FileInfo& info) = 0;
  // accept4(NONBLOCK|CLOEXEC); returns a descriptor.
  virtual std::expected<int, Errno> try_accept(int fd) = 0;
  // shutdown(SHUT_RDWR): ends both directions of a connection, which wakes all that wait on it.
  virtual void shut_down(int fd) = 0;
  // Sets the slabs that transfers reuse, which the backend may pin for transfers with kBypass; null: none any more.
  // They outlive the backend, or the caller resets them to null.
  virtual void use_slabs(const Slabs*) {}
  // Notifies the backend that some of that memory went back to the system.
  virtual void slabs_trimmed() {}
  // The caller promises to close `fd` only through this backend: by close() or kClose. This makes polling it cheaper.
  virtual void keep_watch(int) {}
  // Withdraws that promise, so that `fd` may be closed elsewhere. No task may wait on it.
  virtual void drop_watch(int) {}
  // Begins to watch whether the peer of the connected socket `fd` closes its end; collect_hang_ups() then reports
  // `watch`. The caller calls forget_hang_up() before it closes the descriptor or moves it to another reactor.
  virtual IoResult watch_hang_up(int fd, HangUpWatch& watch) = 0;
  virtual void forget_hang_up(int fd) = 0;
  // Appends the watches whose peers have hung up by now. It reports each at least once, in one of the calls after the
  // hang-up.
  virtual void collect_hang_ups(std::vector<HangUpWatch*>& hung_up) = 0;
  // Closes `fd` at once; no operation may be under way on it.
  virtual void close(int fd) = 0;
  // The same for a file that was never polled. Any thread.
  virtual void close_file(int fd) = 0;
};

}  // namespace blockexport::aio
