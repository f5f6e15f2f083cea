// Node: a named node of the block graph, and the only user of its driver.
//
// Its verbs check, limit, align, split and count requests, and then call the driver; a driver never gets a range that
// is out of bounds, too long or unaligned. The Graph owns nodes, and Edges lead to them; they live as long as an edge
// or the graph holds them (NodeRef). Thread: verbs on any reactor; everything else on the control reactor. A node knows
// its parents only as edges.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "aio/task/task.h"
#include "base/intrusive_list.h"
#include "block/change_listener.h"
#include "block/checked_driver.h"
#include "block/driver.h"
#include "block/io.h"
#include "block/node_bitmaps.h"
#include "block/node_options.h"
#include "block/node_statistics.h"
#include "block/permission_totals.h"
#include "block/range_lock.h"

namespace blockexport::block {

class Edge;

// Larger nodes are refused, so that every size and offset fits a signed number even after rounding to any alignment.
inline constexpr std::uint64_t kNodeBytesMax = (std::uint64_t{1} << 63) - (std::uint64_t{1} << 30);

class Node {
 public:
  // The longest read that is copied from memory in one turn of the event loop: a longer copy would delay all other
  // tasks.
  static constexpr std::uint64_t kReadAtOnceBytesMax = 1u << 20;
  // A driver that reads a longer range from memory copies pieces of this length, one in each turn.
  static constexpr std::uint64_t kReadPieceBytes = 256u << 10;

  Node(std::string name, std::unique_ptr<Driver> driver, NodeOptions options = {});

  const std::string& name() const { return name_; }
  std::uint64_t size_bytes() const { return driver_->size_bytes(); }
  const Limits& limits() const { return limits_; }
  bool read_only() const { return options_.read_only; }
  const NodeOptions& options() const { return options_; }
  Driver& driver() { return *driver_; }

  // The combined permissions of all users, as last set in the driver.
  const Permissions& permissions() const { return permissions_; }
  void set_permissions(Permissions permissions) { permissions_ = permissions; }

  // Sets the options after a reopen; no request may be under way.
  void set_options(NodeOptions options) { options_ = options; }
  // Reads the driver's limits again after a resize or reopen; no request may be under way.
  void refresh_limits() { limits_ = driver_->limits(); }

  // Makes the next flush reach the driver even if this node changed nothing.
  void require_flush() { write_generation_.fetch_add(1, std::memory_order_release); }
  // True if a flush has work to do, here or below. Any reactor.
  bool owes_flush() const;

  // Listeners of changes, which outlive their registration. Call these while no request is under way and the driver is
  // quiesced.
  void add_listener(ChangeListener& listener) { listeners_.add(listener); }
  void remove_listener(ChangeListener& listener) { listeners_.remove(listener); }

  // Its dirty bitmaps. Steps of a change of the graph add, alter and remove them.
  NodeBitmaps& bitmaps() { return bitmaps_; }
  const NodeBitmaps& bitmaps() const { return bitmaps_; }

  // Sets the size of what the driver opened. Nothing may be under way.
  aio::Task<Result<>> resize(std::uint64_t size_bytes);
  // Tells the listeners that the size has followed that of a node below. Nothing may be under way.
  void tell_resized(std::uint64_t before_bytes) const;
  // Makes the node at least that large, while requests are under way and on any reactor: for a caller that has the
  // permission to resize. ENOSPC when the driver cannot grow so far, EPERM when the node is read-only.
  aio::Task<IoResult> grow(std::uint64_t size_bytes);

  // The seven verbs. EINVAL or ENOSPC past the end, EPERM when the node is read-only; otherwise the driver's error.
  // Ranges need no alignment: a request that the driver cannot execute directly goes through a bounce buffer.
  // A write past the end makes the node larger if the options allow it and the driver can_grow().
  aio::Task<IoResult> read(Range range, IoBuffers buffers);
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options);
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options);
  aio::Task<IoResult> discard(Range range);
  aio::Task<IoResult> flush();
  aio::Task<IoResult> extents(Range range, Extents& extents);
  aio::Task<IoResult> prefetch(Range range);

  // Inline verbs: they complete from or into the page cache, or from memory, or return EAGAIN. No task, no wait; no
  // allocation except for extents.
  IoResult try_read(aio::Reactor& reactor, Range range, IoBuffers buffers);
  // The same for a driver above, which passes on the hints that it received.
  IoResult try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints);
  // A write counts as `requests` requests of a client if it succeeds; otherwise as none, because the caller then uses
  // the blocking verb.
  IoResult try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, std::uint32_t requests = 1);
  IoResult try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints);
  // Appends the known extents from the start of the range, at least one byte; it may stop anywhere after that, even
  // before an extent of the same kind.
  IoResult try_extents(aio::Reactor& reactor, Range range, Extents& extents);
  // A read without a copy: returns a range of a host file that has the bytes, all of them in the page cache. Counts as
  // a read. The bytes are read when the span is used, so later writes may show, and bytes may be missing if the file
  // was truncated; only a live driver allows that (block/driver.h). EAGAIN: use read().
  std::expected<FileSpan, Errno> try_share(aio::Reactor& reactor, Range range);
  // Reads bytes that try_share() returned and that were evicted from the page cache since. A blocking verb, for a
  // caller inside an edge's gate. The request and its bytes were counted by then; this counts the time that it takes,
  // and its failure.
  aio::Task<IoResult> read_shared(Range range, IoBuffers buffers);

  // Additional memory that a read or write of `range` takes, with buffers aligned as those of a pool. For a caller
  // inside an edge's gate, because a reopen changes it.
  std::uint64_t bounce_bytes(Range range) const;
  // The same for a write of zeroes, whose partial blocks are written as data.
  std::uint64_t bounce_bytes_of_zeroes(Range range) const;

  // Any reactor.
  NodeStatistics statistics() const { return counters_.sum(); }
  // Counts a read that its caller has served without the node, since it knew the bytes.
  void count_read(const aio::Reactor& reactor, std::uint64_t bytes) { counters_.on(&reactor).read.count(bytes, {}, 0); }

  // The edges that lead here, oldest first.
  IntrusiveList<Edge>& parents() { return parents_; }
  // The combined permissions of the holders of those edges; the edges update them.
  PermissionTotals& permission_totals() { return permission_totals_; }

 private:
  // Size of the bounce buffer of one request; longer requests use it in steps.
  static constexpr std::uint64_t kBounceBytesMax = 1u << 20;

  IoResult check_read(Range range) const;
  IoResult check_write(Range range, bool may_grow) const;
  // True if the driver can execute the request in one call and without a bounce buffer.
  bool is_direct(Range range, IoBuffers buffers) const;
  bool is_aligned(Range range) const;
  Range aligned_around(Range range) const;
  std::uint64_t bounce_step_max() const;

  // For checked ranges, not empty; the caller counts.
  aio::Task<IoResult> read_any(Range range, IoBuffers buffers);
  aio::Task<IoResult> read_pieces(Range range, IoBuffers buffers);
  aio::Task<IoResult> read_bounced(Range range, IoBuffers buffers);
  aio::Task<IoResult> write_any(Range range, IoBuffers buffers, WriteOptions options);
  aio::Task<IoResult> write_pieces(Range range, IoBuffers buffers, WriteOptions options);
  aio::Task<IoResult> write_bounced(Range range, IoBuffers buffers, WriteOptions options);
  aio::Task<IoResult> write_one_bounced(Range range, IoBuffers buffers, std::uint64_t done, WriteOptions options);
  // For one block, which may extend past the end.
  aio::Task<IoResult> read_block(Range block, std::byte* bytes);
  aio::Task<IoResult> write_zeroes_any(Range range, ZeroOptions options);
  aio::Task<IoResult> write_zeroes_blocks(Range range, ZeroOptions options);
  aio::Task<IoResult> write_zeroes_pieces(Range range, ZeroOptions options);
  aio::Task<IoResult> write_zeroes_in_steps(Range range, ZeroOptions options);
  aio::Task<IoResult> write_zeroes_piece(Range range, ZeroOptions options);
  aio::Task<IoResult> write_zeros_as_data(Range range, const ZeroOptions& options);
  Range discardable(Range range) const;
  aio::Task<IoResult> discard_any(Range range);
  aio::Task<IoResult> flush_written();

  // A change of bytes starts with begin_change(), when no listener objects to it, and ends with end_change().
  Change change_of(Range range, ChangeKind kind) const { return {aligned_around(range), kind}; }
  void begin_change(const Change& change) { driver_.begin_change(change); }
  void end_change(const Change& change);
  void tell_growth(std::uint64_t before_bytes) const;

  std::string name_;
  CheckedDriver driver_;
  NodeOptions options_;
  Permissions permissions_;
  Limits limits_;
  PermissionTotals permission_totals_;
  IntrusiveList<Edge> parents_;
  RangeLock writes_;  // used only if the driver needs alignment
  ChangeListeners listeners_;
  NodeBitmaps bitmaps_{listeners_};
  NodeCounterSets counters_;
  // Number of writes that have ended, and the number that the last successful flush covered.
  std::atomic<std::uint64_t> write_generation_ = 0;
  std::atomic<std::uint64_t> flushed_generation_ = 0;
};

}  // namespace blockexport::block
