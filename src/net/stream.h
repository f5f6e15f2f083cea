// Stream: a two-way byte stream to a peer; a socket, or TLS over another stream.
//
// Owned by the session that talks to the peer. The try_ calls never wait; readable() and writable() wait until a try_
// call is worth making again. One task may wait for each direction. Thread: the reactor of those tasks.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "aio/hang_up_watch.h"
#include "aio/task.h"
#include "base/errno.h"

namespace blockexport::net {

class Stream {
 public:
  virtual ~Stream() = default;

  // Up to `buffer.size()` bytes; 0 at the end of the stream; EAGAIN when none are there.
  virtual IoCount try_receive(std::span<std::byte> buffer) = 0;
  // Takes as many bytes as fit now; EAGAIN when none do.
  virtual IoCount try_send(std::span<const iovec> vectors) = 0;

  // Whether try_send_file() works here: not where bytes have to be changed on their way, as by TLS.
  virtual bool can_send_files() const { return false; }
  // Takes as much as fits now of `head`, which may be empty, and behind it of `length` > 0 bytes of the file `fd`, all
  // of them in its page cache. Counts both. EAGAIN: nothing fits; ENODATA: the file ends before `offset`.
  virtual IoCount try_send_file(std::span<const iovec> head, int fd, std::uint64_t offset, std::uint64_t length);

  // ECANCELED when the task was cancelled.
  virtual aio::Task<IoResult> readable() = 0;
  virtual aio::Task<IoResult> writable() = 0;

  // Waits until the peer has closed its end, whatever it sent before and is not read yet. For a task that waits for
  // something else than input and would not see it; nobody waits in readable() meanwhile. ECANCELED as above.
  virtual aio::Task<IoResult> hung_up() = 0;

  // Tells `watch`, through Reactor::report_hang_ups(), that the peer has closed its end; one watch, until
  // forget_hang_up(), which comes before the stream is detached or destroyed. EOPNOTSUPP: this kind has no peer.
  virtual IoResult watch_hang_up(aio::HangUpWatch&) { return fail(EOPNOTSUPP); }
  virtual void forget_hang_up() {}

  // Ends both directions for good; waiting tasks wake and see the end.
  virtual void shut_down() = 0;

  // Carries the stream to another reactor: detach() on the thread of the one it is at, then attach() on that of the new
  // one. Nobody waits on it, and between the two nothing else is called.
  virtual void detach() = 0;
  virtual void attach(aio::Reactor& reactor) = 0;
};

// One receive, after waiting for it if need be.
aio::Task<IoCount> receive_some(Stream& stream, std::span<std::byte> buffer);

// Sends all of it. `bytes` lives until the task has ended.
aio::Task<IoResult> send_all(Stream& stream, std::span<const std::byte> bytes);

}  // namespace blockexport::net
