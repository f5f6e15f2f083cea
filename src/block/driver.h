// Driver: interface of one image format or protocol, such as a host file or the raw format.
//
// Owned by its Node, which is the only caller: ranges arrive not empty, checked against the size (rounded up to
// request_alignment), aligned to limits() and split to its maxima; those of `extents` and `prefetch` are not aligned.
// Only a driver that can_grow() is written past its size. Verbs run on the reactor of the task that calls them
// (aio::current_reactor); a driver that keeps state across requests says in its header which reactor may touch it.
// Errors are POSIX numbers.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/data_place.h"
#include "block/file_span.h"
#include "block/host_file.h"
#include "block/image_identity.h"
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
struct ImageInfo;
}  // namespace blockexport::schema

namespace blockexport::block {

class DebugListener;
class Edge;
class HeldRequests;
class ImageBitmaps;
class ImageSnapshots;
class LiveDriver;
class PointInTime;
class ReopenChildren;
class VariableChildren;

class Driver {
 public:
  virtual ~Driver() = default;

  // The same driver if its readers may see writes that happen after their read began; else null. See LiveDriver.
  virtual LiveDriver* as_live() { return nullptr; }
  // The older state of its bytes that the driver keeps beside the current one; null: it keeps none. It lives as long as
  // the driver. See block/point_in_time.h.
  virtual PointInTime* point_in_time() { return nullptr; }
  // The bitmaps that it keeps in its image; null: it keeps none. It lives as long as the driver.
  virtual ImageBitmaps* image_bitmaps() { return nullptr; }
  // The snapshots that it keeps in its image; null: it keeps none. It lives as long as the driver.
  virtual ImageSnapshots* image_snapshots() { return nullptr; }
  // Its children, if their number may change while it is open; null: it may not. It lives as long as the driver.
  virtual VariableChildren* variable_children() { return nullptr; }
  // The requests that it makes wait on its own; null: it never does. It lives as long as the driver.
  virtual HeldRequests* held_requests() { return nullptr; }
  // Listens to the events of the drivers above (block/debug_events.h); null: nobody does. It does not change while the
  // node is used.
  DebugListener* debug_listener() const { return debug_listener_; }
  // The only reactor that may call the verbs; null: any reactor may. The node moves tasks there, and calls no inline
  // verb anywhere else. It outlives the driver and never changes.
  virtual aio::DataReactor* home() const { return nullptr; }

  // --- the seven verbs ---
  virtual aio::Task<IoResult> read(Range range, IoBuffers buffers) = 0;
  virtual aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) = 0;
  virtual aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options) = 0;
  // A hint: afterwards the bytes are undefined or unchanged.
  virtual aio::Task<IoResult> discard(Range range) = 0;
  // True if a discard may change anything. If not, the node completes it, and calls no listener. Any reactor.
  virtual bool can_discard() const { return true; }
  // Returns true if its format has a compressed form, for a write that asks for it. Any reactor.
  virtual bool can_compress() const { return false; }
  // Makes all completed changes durable.
  virtual aio::Task<IoResult> flush() = 0;
  // Appends to `extents`: see block/io.h. The range is not empty.
  virtual aio::Task<IoResult> extents(Range range, Extents& extents) = 0;
  virtual aio::Task<IoResult> prefetch(Range range) = 0;

  // As `read`, for bytes that try_share() returned (see LiveDriver) and that were evicted from the page cache since. A
  // driver that forwards one forwards both, so that no node below it counts them twice.
  virtual aio::Task<IoResult> read_shared(Range range, IoBuffers buffers) { return read(range, buffers); }

  // --- growth: writes past the end, for a caller that has the permission to resize ---

  // True if a write or a write of zeroes that ends past size_bytes() makes the driver larger. When such a verb has
  // succeeded, size_bytes() is at least its end, and unwritten bytes read as zeros. Any reactor.
  virtual bool can_grow() const { return false; }
  // Makes the driver at least that large while other requests are under way. Any reactor.
  virtual aio::Task<IoResult> grow(std::uint64_t size_bytes);

  // True if a flush has work to do although no verb of this driver changed anything since the last one: because the
  // driver writes metadata by itself, or because another user changed a child, which the default checks. Any reactor.
  virtual bool owes_flush() const;

  // In bytes. Changes by a resize, and by growth, which may happen at any moment and never reduces it.
  virtual std::uint64_t size_bytes() const = 0;
  virtual Limits limits() const = 0;

  // --- for the control reactor; no verb is under way during a resize and a reopen ---

  // Stops the driver's background I/O, and returns when none is under way; then the driver may be destroyed. No verb is
  // under way. resume() allows that I/O again; a driver that was just opened has not begun it. Called in pairs, except
  // for the first resume(), and for parents first. It must not be cancelled.
  virtual aio::Task<void> quiesce();
  virtual void resume() {}

  // Name of the driver in the schema, as "file". Static text.
  virtual std::string_view format_name() const = 0;
  // Name of its file for messages; empty when there is none.
  virtual std::string filename() const { return {}; }
  // The host file that it opened; nullopt for a driver without one. It is that of this driver alone, not of a child.
  virtual std::optional<HostFile> host_file() const { return std::nullopt; }
  // True if it could only be opened read-only, although its options allowed writing.
  virtual bool is_read_only() const { return false; }
  // Bytes of allocated storage; nullopt when unknown. The default is the sum over the children that contain the image.
  virtual aio::Task<std::optional<std::uint64_t>> allocated_bytes();

  // The image of the driver, for a bitmap store, which must not be used with another one. It changes only by a reopen
  // of this node or of one below. The default is an error for users: the driver has no image that a later start of the
  // daemon could recognise.
  virtual aio::Task<Result<ImageIdentity>> identify();
  // Adds what only the driver can tell about its image to `info`: it has the members that every node has. From memory.
  virtual void describe_image(schema::ImageInfo&) const {}
  // The name of the backing file that stands in the image, below the directory of the image if it is relative; nullopt
  // for images and drivers without one.
  virtual std::optional<std::string> backing_name() const { return std::nullopt; }
  // The place of the bytes at the start of `range`, which is not empty and lies in the node. Any reactor. ENOTSUP: the
  // driver knows no place.
  virtual aio::Task<std::expected<DataPlace, Errno>> locate(Range range);
  // Null for drivers other than host files.
  virtual const FileStatistics* file_statistics() const { return nullptr; }

  // The edges to its children, in the order of opening. Any reactor, for a caller inside the gate of an edge above.
  virtual std::vector<Edge*> children() const { return {}; }
  // The permissions that it needs and shares on `child`, when its own users need and share `own`.
  virtual Permissions child_permissions(const Edge& child, const Permissions& own, bool read_only) const;

  // Sets the combined permissions of all users of the node, so that the driver can lock its file or device against
  // other processes. A failure restores the former locks.
  virtual aio::Task<Result<>> set_permissions(Permissions permissions);
  // Changes the name of the backing file that stands in the image, and its format; an empty name takes it away. The
  // backing node stays. A crash leaves the old name or the new one. No verb is under way.
  virtual aio::Task<IoResult> change_backing_name(std::string name, std::string_view format);
  // Sets the size; new bytes read as zeros.
  virtual aio::Task<Result<>> resize(std::uint64_t size_bytes);

  // --- reopen: prepare, then permissions, then either commit or abort, which cannot fail ---

  // Checks that `options` differ from the current ones only where allowed, and prepares the change. Its children are
  // already those of the new options; the driver adds and drops optional ones through `children`. May make
  // `node_options` read-only, where they allow it. A failure leaves everything as before, and abort_reopen() is not
  // called.
  virtual aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before,
                                             const schema::BlockdevOptions& after, NodeOptions& node_options,
                                             ReopenChildren& children);
  virtual aio::Task<void> commit_reopen();
  virtual aio::Task<void> abort_reopen();

 protected:
  // For a driver that is the listener itself, in its constructor.
  void set_debug_listener(DebugListener& listener) { debug_listener_ = &listener; }

 private:
  DebugListener* debug_listener_ = nullptr;
};

// Parameters of an inline read or write: input from the node, and output of the driver. A driver whose verb is one verb
// of a child passes them on.
struct InlineHints {
  std::uint32_t requests = 1;    // number of client requests in the write, for statistics
  std::uint64_t started_ns = 0;  // start, by the reactor's clock
  std::uint64_t ended_ns = 0;    // set by whoever has read the clock after the verb, so that nobody reads it again
};

// LiveDriver: a driver whose readers may see writes that happen after their read began, and that has inline verbs.
//
// The inline verbs complete the request or return EAGAIN, after which the caller uses the blocking verb; they never
// wait. A driver that owes its readers an older state, as a snapshot does, is a plain Driver: then neither it nor a
// filter above it can return newer bytes of a child, or a FileSpan, whose bytes are read when they are sent.
class LiveDriver : public Driver {
 public:
  LiveDriver* as_live() final { return this; }

  virtual IoResult try_read(aio::Reactor&, Range, IoBuffers, InlineHints&) { return fail(EAGAIN); }
  virtual IoResult try_write(aio::Reactor&, Range, IoBuffers, InlineHints&) { return fail(EAGAIN); }
  // As `extents`, from memory: stops at the first unknown byte, and returns EAGAIN when that is the first.
  virtual IoResult try_extents(aio::Reactor&, Range, Extents&) { return fail(EAGAIN); }
  // The range's position in a file, if all of it is in the page cache now.
  virtual std::expected<FileSpan, Errno> try_share(aio::Reactor&, Range) { return fail(EAGAIN); }
};

}  // namespace blockexport::block
