// Driver: one format or protocol, such as a host file or the raw format.
//
// Owned by its Node, which is the only caller: ranges arrive not empty, checked against the size (rounded up to
// request_alignment), aligned to limits() and split to transfer_bytes_max; those of `extents` and `prefetch` are not
// aligned. Verbs run on the reactor of the task that calls them (aio::current_reactor); a driver that keeps
// state across requests says in its header which reactor may touch it. Errors are POSIX numbers.
#pragma once

#include <expected>
#include <string_view>

#include "aio/task.h"
#include "block/io.h"

namespace blockexport::aio {
class Reactor;
}

namespace blockexport::block {

class Driver {
 public:
  virtual ~Driver() = default;

  // --- the seven verbs ---
  virtual aio::Task<IoResult> read(Range range, IoBuffers buffers) = 0;
  virtual aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) = 0;
  virtual aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options) = 0;
  // A hint: afterwards the bytes are undefined, or still what they were.
  virtual aio::Task<IoResult> discard(Range range) = 0;
  // Everything that completed before is durable when it succeeds.
  virtual aio::Task<IoResult> flush() = 0;
  // Appends to `extents`: see block/io.h. The range is not empty.
  virtual aio::Task<IoResult> extents(Range range, Extents& extents) = 0;
  virtual aio::Task<IoResult> prefetch(Range range) = 0;

  // --- the same two verbs at once or not at all: EAGAIN sends the caller to the verb above. Never wait. ---
  virtual IoResult try_read(aio::Reactor&, Range, IoBuffers) { return fail(EAGAIN); }
  virtual IoResult try_write(aio::Reactor&, Range, IoBuffers) { return fail(EAGAIN); }

  // Bytes; fixed until a resize.
  virtual std::uint64_t size_bytes() const = 0;
  virtual Limits limits() const = 0;
};

}  // namespace blockexport::block
