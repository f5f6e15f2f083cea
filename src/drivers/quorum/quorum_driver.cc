#include "drivers/quorum/quorum_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "aio/task/current.h"
#include "block/buffers.h"
#include "drivers/quorum/common_extents.h"
#include "drivers/replicas/all_at_once.h"
#include "drivers/replicas/first_difference.h"
#include "schema/block_core.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Permission;
using block::QuorumOperation;
using block::Range;
using block::RangeLock;

namespace {

// Alignment of the memory of a read: no child needs another copy.
constexpr std::size_t kMemoryAlignment = 4096;

std::size_t count_successes(const std::vector<IoResult>& results) {
  return static_cast<std::size_t>(std::ranges::count_if(results, [](IoResult result) { return result.has_value(); }));
}

// The error of most results, of which at least one is an error.
Errno common_error(const std::vector<IoResult>& results) {
  Votes votes;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i]) continue;
    votes.add(i, [&](std::size_t other) { return results[other].error() == results[i].error(); });
  }
  return results[votes.winner().front()].error();
}

}  // namespace

// One read of one piece by all children. The first child reads into the buffers of the request.
struct QuorumDriver::Poll {
  Poll(Range read_range, IoBuffers read_buffers, std::size_t count)
      : range(read_range),
        buffers(read_buffers),
        memory(std::max<std::size_t>(count - 1, 1) * read_range.length, kMemoryAlignment) {}

  // Bytes that a child other than the first has read.
  std::span<std::byte> bytes_of(std::size_t index) const {
    return memory.bytes().subspan((index - 1) * range.length, range.length);
  }
  bool are_equal(std::size_t a, std::size_t b) const {
    if (a > b) std::swap(a, b);
    if (a == 0) return !first_difference(buffers, bytes_of(b));
    return std::ranges::equal(bytes_of(a), bytes_of(b));
  }

  Range range;
  IoBuffers buffers;
  block::AlignedMemory memory;
  std::vector<IoResult> results;
  Votes votes;  // of the children that succeeded
};

QuorumDriver::QuorumDriver(QuorumOptions options, std::vector<std::unique_ptr<block::Edge>> children, const Log* log,
                           block::QuorumObserver* observer)
    : options_(options),
      children_(std::move(children)),
      next_number_(static_cast<std::uint32_t>(children_.size())),
      observer_(observer),
      check_(log, "quorum") {}

Result<> QuorumDriver::check_size(const block::Node& first, const block::Node& other) {
  if (first.size_bytes() == other.size_bytes()) return {};
  return fail(Error::system("Could not refresh total sector count", Errno(EIO))
                  .with_hint(fmt::format("The children of a quorum node are equally large: '{}' has {} bytes, and "
                                         "'{}' has {}.",
                                         first.name(), first.size_bytes(), other.name(), other.size_bytes())));
}

Result<std::unique_ptr<QuorumDriver>> QuorumDriver::open(QuorumOptions options,
                                                         std::vector<std::unique_ptr<block::Edge>> children,
                                                         const Log* log, block::QuorumObserver* observer) {
  for (const auto& child : children) TRY(check_size(children.front()->node(), child->node()));
  return std::unique_ptr<QuorumDriver>(new QuorumDriver(options, std::move(children), log, observer));
}

const std::string& QuorumDriver::node_name() const {
  return children_.front()->parent().node->name();
}

aio::Task<IoResult> QuorumDriver::read(Range range, IoBuffers buffers) {
  if (reads_first()) co_return co_await read_first(range, buffers);
  if (children_.size() == 1) {
    std::vector<IoResult> results(1);
    results[0] = co_await child(0).read(range, buffers);
    co_return settle(QuorumOperation::kRead, range, results);
  }
  for (std::uint64_t done = 0; done < range.length;) {
    const std::uint64_t length = std::min(range.length - done, kReadPieceBytesMax);
    const std::vector<iovec> piece = block::slice(buffers, done, length);
    CO_TRY(co_await read_piece({range.offset + done, length}, piece));
    done += length;
  }
  co_return IoResult();
}

aio::Task<IoResult> QuorumDriver::read_first(Range range, IoBuffers buffers) {
  IoResult result;
  for (std::size_t i = 0; i < children_.size(); ++i) {
    result = co_await child(i).read(range, buffers);
    if (result) break;
    report_bad(QuorumOperation::kRead, range, i, result.error());
  }
  co_return result;
}

aio::Task<void> QuorumDriver::read_all(Poll& poll) {
  std::vector<iovec> vectors(children_.size());
  std::vector<aio::Task<IoResult>> reads;
  reads.push_back(child(0).read(poll.range, poll.buffers));
  for (std::size_t i = 1; i < children_.size(); ++i) {
    vectors[i] = {poll.bytes_of(i).data(), poll.range.length};
    reads.push_back(child(i).read(poll.range, IoBuffers(&vectors[i], 1)));
  }
  poll.results = co_await all_at_once("quorum read", std::move(reads));
  poll.votes = {};
  for (std::size_t i = 0; i < children_.size(); ++i) {
    if (poll.results[i]) poll.votes.add(i, [&](std::size_t other) { return poll.are_equal(other, i); });
  }
}

aio::Task<IoResult> QuorumDriver::read_piece(Range range, IoBuffers buffers) {
  CO_TRY(check_.state());
  Poll poll(range, buffers, children_.size());
  if (!poll.memory) co_return fail(ENOMEM);
  co_await read_all(poll);
  if (poll.votes.empty() || poll.votes.is_unanimous()) co_return co_await judge(poll);
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  report_failures(QuorumOperation::kRead, range, poll.results);
  co_await read_all(poll);
  co_return co_await judge(poll);
}

aio::Task<IoResult> QuorumDriver::judge(Poll& poll) {
  CO_TRY(settle(QuorumOperation::kRead, poll.range, poll.results));
  const std::vector<std::size_t>& winner = poll.votes.winner();
  if (winner.size() < options_.threshold) {
    report_failure(poll.range);
    if (!options_.must_be_equal) co_return fail(EIO);
    const std::uint64_t at = first_difference(poll.buffers, poll.bytes_of(1)).value_or(0);
    co_return check_.contents_differ(node_name(), poll.range, poll.range.offset + at);
  }
  if (winner.front() != 0) block::copy_in(poll.buffers, 0, poll.bytes_of(winner.front()));
  for (const std::vector<std::size_t>& group : poll.votes.groups()) {
    if (&group == &winner) continue;
    for (std::size_t index : group) report_bad(QuorumOperation::kRead, poll.range, index, std::nullopt);
  }
  if (options_.rewrite_corrupted && !poll.votes.is_unanimous()) co_await rewrite(poll);
  co_return IoResult();
}

// The buffers of the request have the bytes of the winner.
aio::Task<void> QuorumDriver::rewrite(const Poll& poll) {
  std::vector<std::size_t> rewritten;
  std::vector<aio::Task<IoResult>> writes;
  for (const std::vector<std::size_t>& group : poll.votes.groups()) {
    if (&group == &poll.votes.winner()) continue;
    for (std::size_t index : group) {
      rewritten.push_back(index);
      writes.push_back(child(index).write(poll.range, poll.buffers, {}));
    }
  }
  const std::vector<IoResult> results = co_await all_at_once("quorum rewrite", std::move(writes));
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) report_bad(QuorumOperation::kWrite, poll.range, rewritten[i], results[i].error());
  }
}

aio::Task<IoResult> QuorumDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  CO_TRY(check_.state());
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  std::vector<aio::Task<IoResult>> writes;
  for (std::size_t i = 0; i < children_.size(); ++i) writes.push_back(child(i).write(range, buffers, options));
  const std::vector<IoResult> results = co_await all_at_once("quorum write", std::move(writes));
  co_return settle(QuorumOperation::kWrite, range, results);
}

aio::Task<IoResult> QuorumDriver::write_zeroes(Range range, block::ZeroOptions options) {
  CO_TRY(check_.state());
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  std::vector<IoResult> results;
  if (options.no_fallback) {
    // The others would stay ahead of a child that refuses, so one child decides for all.
    results.push_back(co_await child(0).write_zeroes(range, options));
    if (!results[0] && results[0].error() == Errno(ENOTSUP)) co_return results[0];
    options.no_fallback = false;
  }
  std::vector<aio::Task<IoResult>> writes;
  for (std::size_t i = results.size(); i < children_.size(); ++i) {
    writes.push_back(child(i).write_zeroes(range, options));
  }
  const std::vector<IoResult> others = co_await all_at_once("quorum zeroes", std::move(writes));
  results.insert(results.end(), others.begin(), others.end());
  co_return block::after_a_change(settle(QuorumOperation::kWrite, range, results));
}

aio::Task<IoResult> QuorumDriver::discard(Range) {
  co_return IoResult();
}

aio::Task<IoResult> QuorumDriver::flush() {
  CO_TRY(check_.state());
  std::vector<aio::Task<IoResult>> flushes;
  for (std::size_t i = 0; i < children_.size(); ++i) flushes.push_back(child(i).flush());
  const std::vector<IoResult> results = co_await all_at_once("quorum flush", std::move(flushes));
  co_return settle(QuorumOperation::kFlush, {}, results);
}

aio::Task<IoResult> QuorumDriver::extents(Range range, block::Extents& extents) {
  CO_TRY(check_.state());
  CommonExtents common;
  for (std::size_t i = 0; i < children_.size(); ++i) {
    block::Extents found;
    if (IoResult result = co_await child(i).extents(range, found); !result) {
      report_bad(QuorumOperation::kRead, range, i, result.error());
      extents.push_back({.length = range.length, .data = true});
      co_return IoResult();
    }
    common.add(found);
  }
  const block::Extents& result = common.extents();
  extents.insert(extents.end(), result.begin(), result.end());
  co_return IoResult();
}

aio::Task<IoResult> QuorumDriver::prefetch(Range range) {
  std::vector<aio::Task<IoResult>> prefetches;
  const std::size_t count = reads_first() ? 1 : children_.size();
  for (std::size_t i = 0; i < count; ++i) prefetches.push_back(child(i).prefetch(range));
  const std::vector<IoResult> results = co_await all_at_once("quorum prefetch", std::move(prefetches));
  if (count_successes(results) > 0) co_return IoResult();
  co_return fail(common_error(results));
}

IoResult QuorumDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  // After an error, the verb reads from the next child.
  if (reads_first() && child(0).try_read(reactor, range, buffers, hints)) return {};
  return fail(EAGAIN);
}

std::expected<block::FileSpan, Errno> QuorumDriver::try_share(aio::Reactor& reactor, Range range) {
  if (!reads_first()) return fail(EAGAIN);
  return child(0).try_share(reactor, range);
}

aio::Task<IoResult> QuorumDriver::read_shared(Range range, IoBuffers buffers) {
  return child(0).read_shared(range, buffers);
}

block::Limits QuorumDriver::limits() const {
  block::Limits limits;
  for (const auto& edge : children_) {
    limits.optimal_bytes = std::max(limits.optimal_bytes, edge->node().limits().optimal_bytes);
  }
  return limits;
}

std::vector<block::Edge*> QuorumDriver::children() const {
  std::vector<block::Edge*> list;
  for (const auto& edge : children_ | std::views::reverse) list.push_back(edge.get());
  return list;
}

// A write or a resize by others would make the children differ.
block::Permissions QuorumDriver::child_permissions(const block::Edge&, const block::Permissions& own, bool) const {
  block::Permissions needed{.used = own.used,
                            .shared = own.shared & (Permission::kConsistentRead | Permission::kWriteUnchanged)};
  if (options_.rewrite_corrupted) needed.used = needed.used | Permission::kWrite;
  return needed;
}

void QuorumDriver::describe_image(schema::ImageInfo& info) const {
  // It has no image of its own that could be dirty.
  info.dirty_flag.reset();
}

IoResult QuorumDriver::settle(QuorumOperation operation, Range range, const std::vector<IoResult>& results) const {
  report_failures(operation, range, results);
  if (count_successes(results) >= options_.threshold) return {};
  if (operation != QuorumOperation::kFlush) report_failure(range);
  return fail(common_error(results));
}

void QuorumDriver::report_failures(QuorumOperation operation, Range range, const std::vector<IoResult>& results) const {
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) report_bad(operation, range, i, results[i].error());
  }
}

void QuorumDriver::report_bad(QuorumOperation operation, Range range, std::size_t index,
                              std::optional<Errno> error) const {
  if (observer_ == nullptr) return;
  observer_->child_is_bad({.operation = operation, .node_name = child(index).name(), .range = range, .error = error});
}

void QuorumDriver::report_failure(Range range) const {
  if (observer_ != nullptr) observer_->request_failed({.node_name = node_name(), .range = range});
}

}  // namespace blockexport::drivers
