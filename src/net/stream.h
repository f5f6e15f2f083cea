// Stream: bidirectional byte stream to a peer: a socket, or TLS over another stream.
//
// Owned by the session that talks to the peer. The try_ calls never wait; readable() and writable() wait until such a
// call can make progress. One task may wait per direction. Thread: the reactor of those tasks.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "aio/operation/hang_up_watch.h"
#include "aio/task/task.h"
#include "base/errno.h"

namespace blockexport::net {

class Stream {
 public:
  virtual ~Stream() = default;

  // Receives up to `buffer.size()` bytes; 0 at the end of the stream; EAGAIN when none are available.
  virtual IoCount try_receive(std::span<std::byte> buffer) = 0;
  // Sends as many bytes as can be buffered now; EAGAIN when none can.
  virtual IoCount try_send(std::span<const iovec> vectors) = 0;

  // True if try_send_file() works: not on a stream that must transform the bytes, such as TLS.
  virtual bool can_send_files() const { return false; }
  // Sends as much as can be buffered now of `head`, which may be empty, followed by `length` > 0 bytes of the file
  // `fd`, all of them in its page cache. The result counts both. EAGAIN: nothing can be buffered; ENODATA: the file
  // ends before `offset`.
  virtual IoCount try_send_file(std::span<const iovec> head, int fd, std::uint64_t offset, std::uint64_t length);

  // ECANCELED when the task was cancelled.
  virtual aio::Task<IoResult> readable() = 0;
  virtual aio::Task<IoResult> writable() = 0;

  // Waits until the peer has closed its end, even if data before that is still unread. For a task that does not read
  // meanwhile; no task may wait in readable() at the same time. ECANCELED as above.
  virtual aio::Task<IoResult> hung_up() = 0;

  // Registers `watch`, to which Reactor::report_hang_ups() reports that the peer has closed its end. One watch per
  // stream; call forget_hang_up() before the stream is detached or destroyed. EOPNOTSUPP: this kind has no peer.
  virtual IoResult watch_hang_up(aio::HangUpWatch&) { return fail(EOPNOTSUPP); }
  virtual void forget_hang_up() {}

  // Ends both directions; waiting tasks wake up and see the end.
  virtual void shut_down() = 0;

  // True if release() works. It does not under TLS, where the stream is more than its descriptor.
  virtual bool can_be_released() const { return false; }
  // Gives up the descriptor, which stays open and belongs to the caller from now on. No task waits on the stream or
  // watches it, it is attached to a reactor, and it can only be destroyed afterwards.
  virtual int release() { return -1; }

  // Move the stream to another reactor: detach() on the thread of the current one, then attach() on that of the new
  // one. No task waits on it, and no other function is called in between.
  virtual void detach() = 0;
  virtual void attach(aio::Reactor& reactor) = 0;
};

// Receives once, after waiting if necessary.
aio::Task<IoCount> receive_some(Stream& stream, std::span<std::byte> buffer);

// Sends all bytes. `bytes` outlives the task.
aio::Task<IoResult> send_all(Stream& stream, std::span<const std::byte> bytes);

}  // namespace blockexport::net
