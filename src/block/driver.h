// Driver: one format or protocol, such as a host file or the raw format.
//
// Owned by its Node, which is the only caller: ranges arrive not empty, checked against the size (rounded up to
// request_alignment), aligned to limits() and split to its maxima; those of `extents` and `prefetch` are not aligned.
// Only a driver that can_grow() is written past its size. Verbs run on the reactor of the task that calls them
// (aio::current_reactor); a driver that keeps state across requests says in its header which reactor may touch it.
// Errors are POSIX numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aio/task.h"
#include "base/error.h"
#include "block/file_span.h"
#include "block/io.h"
#include "block/node_options.h"
#include "block/node_statistics.h"
#include "block/permissions.h"

namespace blockexport::aio {
struct DataReactor;
class Reactor;
}  // namespace blockexport::aio

namespace blockexport::schema {
struct BlockdevOptions;
}

namespace blockexport::block {

class Edge;
class LiveDriver;

class Driver {
 public:
  virtual ~Driver() = default;

  // The same driver if its readers may see what is written after their read began; else null. See LiveDriver.
  virtual LiveDriver* as_live() { return nullptr; }
  // The only reactor that may call the verbs; null: any reactor may. The node brings tasks there, and asks none of the
  // verbs that answer at once anywhere else. It outlives the driver and stays the same.
  virtual aio::DataReactor* home() const { return nullptr; }

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

  // As `read`, of bytes that try_share() gave (see LiveDriver) and that have left the page cache since. A driver that
  // forwards one forwards both, so that no node below it counts them twice.
  virtual aio::Task<IoResult> read_shared(Range range, IoBuffers buffers) { return read(range, buffers); }

  // --- growth: writes past the end, for a caller that has the permission to resize ---

  // Whether a write or a write of zeroes that ends past size_bytes() makes the driver larger. When such a verb has
  // succeeded, size_bytes() is at least its end, and bytes that nobody wrote read as zeros. Any reactor.
  virtual bool can_grow() const { return false; }
  // Makes the driver at least as large as that while other requests are under way. Any reactor.
  virtual aio::Task<IoResult> grow(std::uint64_t size_bytes);

  // Whether a flush has something to do although no verb of this driver changed anything since the last one: the driver
  // writes metadata on its own, or a child was changed by another user, which is what the default looks for. Any
  // reactor.
  virtual bool owes_flush() const;

  // Bytes. Changes by a resize, and by growth, which may happen at any moment and never makes it smaller.
  virtual std::uint64_t size_bytes() const = 0;
  virtual Limits limits() const = 0;

  // --- the rest is for the control reactor; no verb is under way during a resize and a reopen ---

  // Ends the I/O that the driver does by itself, not for a verb, and returns when none is under way; then the driver
  // may be destroyed. No verb is under way. resume() lets that I/O begin again; a driver that was just opened has not
  // begun it. Called in pairs, but for the first resume(), and parents first. Not to be cancelled.
  virtual aio::Task<void> quiesce();
  virtual void resume() {}

  // "file", "raw", ...: the name it has in the schema. Static text.
  virtual std::string_view format_name() const = 0;
  // The file behind it, as a person would name it; empty when there is none.
  virtual std::string filename() const { return {}; }
  // What it opened cannot be written, although its options would have let it.
  virtual bool is_read_only() const { return false; }
  // Bytes of storage in use; nothing when it cannot tell. The default adds up the children that hold the image.
  virtual aio::Task<std::optional<std::uint64_t>> allocated_bytes();

  // Null for what is not a host file.
  virtual const FileStatistics* file_statistics() const { return nullptr; }

  // The edges to its children, in the order of opening. Any reactor, for a caller inside the gate of an edge above.
  virtual std::vector<Edge*> children() const { return {}; }
  // What it needs of `child`, and lets others do with it, when its own users need and share `own`.
  virtual Permissions child_permissions(const Edge& child, const Permissions& own, bool read_only) const;

  // Tells what all users of the node together use and share, so that the driver can lock what it opened against other
  // processes. On failure the locks are as they were.
  virtual aio::Task<Result<>> set_permissions(Permissions permissions);
  // Sets the size; new bytes read as zeros.
  virtual aio::Task<Result<>> resize(std::uint64_t size_bytes);

  // --- new options: prepare, then permissions, then either commit or abort, which cannot fail ---

  // Checks that `options` differ from those of now only in what may change, and gets ready. Its children are already
  // those of the new options. May make `node_options` read-only, where they allow it.
  virtual aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before,
                                             const schema::BlockdevOptions& after, NodeOptions& node_options);
  virtual aio::Task<void> commit_reopen();
  virtual aio::Task<void> abort_reopen();
};

// What a node tells its driver with a write that is tried at once, and learns from it.
struct WriteHints {
  std::uint32_t requests = 1;    // of a client, which the write stands for; statistics count them
  std::uint64_t started_ns = 0;  // by the reactor's clock
  std::uint64_t ended_ns = 0;  // set by a driver that has read the clock after the write, so that nobody reads it again
};

// LiveDriver: a driver whose readers may see what is written after their read began, and that can answer at once.
//
// These functions do the whole request or answer EAGAIN, which sends the caller to the verb; they never wait. A driver
// that owes its readers an older state, as a snapshot does, is a plain Driver: then neither it nor a filter above it
// can answer from a child that has moved on, nor hand out a FileSpan, whose bytes are read when they are sent.
class LiveDriver : public Driver {
 public:
  LiveDriver* as_live() final { return this; }

  virtual IoResult try_read(aio::Reactor&, Range, IoBuffers) { return fail(EAGAIN); }
  virtual IoResult try_write(aio::Reactor&, Range, IoBuffers, WriteHints&) { return fail(EAGAIN); }
  // As `extents`, from memory: stops where knowledge ends, and is EAGAIN when that is at the start.
  virtual IoResult try_extents(aio::Reactor&, Range, Extents&) { return fail(EAGAIN); }
  // Where the range stands in a file, when all of it is in the page cache now.
  virtual std::expected<FileSpan, Errno> try_share(aio::Reactor&, Range) { return fail(EAGAIN); }
};

}  // namespace blockexport::block
