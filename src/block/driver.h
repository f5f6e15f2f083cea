// Driver: one format or protocol, such as a host file or the raw format.
//
// Owned by its Node, which is the only caller: ranges arrive not empty, checked against the size (rounded up to
// request_alignment), aligned to limits() and split to transfer_bytes_max; those of `extents` and `prefetch` are not
// aligned. Verbs run on the reactor of the task that calls them (aio::current_reactor); a driver that keeps
// state across requests says in its header which reactor may touch it. Errors are POSIX numbers.
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
class Reactor;
}

namespace blockexport::schema {
struct BlockdevOptions;
}

namespace blockexport::block {

class Edge;

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

  // --- the same three verbs at once or not at all: EAGAIN sends the caller to the verb above. Never wait. ---
  virtual IoResult try_read(aio::Reactor&, Range, IoBuffers) { return fail(EAGAIN); }
  // A write stands for `requests` of a client: only statistics need to know.
  virtual IoResult try_write(aio::Reactor&, Range, IoBuffers, std::uint32_t /*requests*/) { return fail(EAGAIN); }
  // Whether a write that is to be durable had best be made at once and then flushed, because a flush is under way or
  // about to be, and those who wait for one share the next. A hint: the answer may be old when it arrives.
  virtual bool is_syncing() { return false; }
  // As `extents`, from memory: stops where knowledge ends, and is EAGAIN when that is at the start.
  virtual IoResult try_extents(aio::Reactor&, Range, Extents&) { return fail(EAGAIN); }
  // Where the range stands in a file, when all of it is in the page cache now; else EAGAIN. Only for nodes of which a
  // reader may see what is written after it asked: see FileDriver::try_share.
  virtual std::expected<FileSpan, Errno> try_share(aio::Reactor&, Range) { return fail(EAGAIN); }

  // Bytes; fixed until a resize.
  virtual std::uint64_t size_bytes() const = 0;
  virtual Limits limits() const = 0;

  // --- the rest is for the control reactor; no verb is under way during a resize and a reopen ---

  // "file", "raw", ...: the name it has in the schema. Static text.
  virtual std::string_view format_name() const = 0;
  // The file behind it, as a person would name it; empty when there is none.
  virtual std::string filename() const { return {}; }
  // What it opened cannot be written, although its options would have let it.
  virtual bool is_read_only() const { return false; }
  // Bytes of storage in use; nothing when it cannot tell.
  virtual aio::Task<std::optional<std::uint64_t>> allocated_bytes();

  // Null for what is not a host file.
  virtual const FileStatistics* file_statistics() const { return nullptr; }

  // The edges to its children, in the order of opening.
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

}  // namespace blockexport::block
