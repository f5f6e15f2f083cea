#include "drivers/blkverify/blkverify_driver.h"

#include <algorithm>

#include "aio/task/current.h"
#include "block/buffers.h"
#include "drivers/replicas/all_at_once.h"
#include "drivers/replicas/first_difference.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Permission;
using block::Permissions;
using block::Range;
using block::RangeLock;

namespace {

// Alignment of the memory of a read: no child needs another copy.
constexpr std::size_t kMemoryAlignment = 4096;

}  // namespace

BlkverifyDriver::BlkverifyDriver(std::unique_ptr<block::Edge> test, std::unique_ptr<block::Edge> raw, const Log* log)
    : test_(std::move(test)), raw_(std::move(raw)), check_(log, "blkverify") {}

aio::Task<IoResult> BlkverifyDriver::read(Range range, IoBuffers buffers) {
  for (std::uint64_t done = 0; done < range.length;) {
    const std::uint64_t length = std::min(range.length - done, kReadPieceBytesMax);
    const std::vector<iovec> piece = block::slice(buffers, done, length);
    CO_TRY(co_await read_piece({range.offset + done, length}, piece));
    done += length;
  }
  co_return IoResult();
}

aio::Task<std::vector<IoResult>> BlkverifyDriver::read_both(Range range, IoBuffers buffers,
                                                            std::span<std::byte> memory) {
  iovec vector{memory.data(), memory.size()};
  std::vector<aio::Task<IoResult>> reads;
  reads.push_back(test().read(range, buffers));
  reads.push_back(raw().read(range, IoBuffers(&vector, 1)));
  co_return co_await all_at_once("blkverify read", std::move(reads));
}

aio::Task<IoResult> BlkverifyDriver::read_piece(Range range, IoBuffers buffers) {
  CO_TRY(check_.state());
  block::AlignedMemory memory(range.length, kMemoryAlignment);
  if (!memory) co_return fail(ENOMEM);
  const std::span<std::byte> bytes = memory.bytes().first(range.length);
  std::vector<IoResult> results = co_await read_both(range, buffers, bytes);
  if (results[0] == results[1] && (!results[0] || !first_difference(buffers, bytes))) co_return results[0];
  // A change may have been under way on one of the children.
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  if (results[0] == results[1]) results = co_await read_both(range, buffers, bytes);
  CO_TRY(compare_results("read", range, results));
  const std::optional<std::uint64_t> at = first_difference(buffers, bytes);
  if (!at) co_return IoResult();
  co_return check_.contents_differ(node_name(), range, range.offset + *at);
}

IoResult BlkverifyDriver::compare_results(std::string_view operation, Range range,
                                          const std::vector<IoResult>& results) {
  if (results[0] == results[1]) return results[0];
  return check_.results_differ(node_name(), operation, range, results[0], results[1]);
}

aio::Task<IoResult> BlkverifyDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  CO_TRY(check_.state());
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  std::vector<aio::Task<IoResult>> writes;
  writes.push_back(test().write(range, buffers, options));
  writes.push_back(raw().write(range, buffers, options));
  const std::vector<IoResult> results = co_await all_at_once("blkverify write", std::move(writes));
  co_return compare_results("write", range, results);
}

aio::Task<IoResult> BlkverifyDriver::write_zeroes(Range range, block::ZeroOptions options) {
  CO_TRY(check_.state());
  RangeLock::Hold hold(changes_, co_await aio::current_reactor(), range, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  // The tested child alone says whether it has fast zeroes: the other one is there to be compared.
  std::vector<IoResult> results;
  results.push_back(co_await test().write_zeroes(range, options));
  if (!results[0] && results[0].error() == Errno(ENOTSUP)) co_return results[0];
  options.no_fallback = false;
  results.push_back(co_await raw().write_zeroes(range, options));
  co_return compare_results("write", range, results);
}

aio::Task<IoResult> BlkverifyDriver::discard(Range) {
  co_return IoResult();
}

aio::Task<IoResult> BlkverifyDriver::flush() {
  CO_TRY(check_.state());
  co_return co_await test().flush();
}

aio::Task<IoResult> BlkverifyDriver::extents(Range range, block::Extents& extents) {
  CO_TRY(check_.state());
  // The raw child may be smaller, which a read finds out.
  if (range.end() <= raw().size_bytes()) co_return co_await raw().extents(range, extents);
  co_return co_await test().extents(range, extents);
}

aio::Task<IoResult> BlkverifyDriver::prefetch(Range range) {
  std::vector<aio::Task<IoResult>> prefetches;
  prefetches.push_back(test().prefetch(range));
  if (range.end() <= raw().size_bytes()) prefetches.push_back(raw().prefetch(range));
  const std::vector<IoResult> results = co_await all_at_once("blkverify prefetch", std::move(prefetches));
  co_return results[0];
}

block::Limits BlkverifyDriver::limits() const {
  return {.optimal_bytes = std::max(test().limits().optimal_bytes, raw().limits().optimal_bytes)};
}

Permissions BlkverifyDriver::child_permissions(const block::Edge& child, const Permissions& own, bool) const {
  if (&child == raw_.get()) return own;
  // The tested child has the size of the node. Writes may make it larger, as far as the reference is concerned.
  Permissions needed{.used = own.used, .shared = own.shared - Permission::kResize};
  if (own.used.has(Permission::kWrite)) needed.used = needed.used | Permission::kResize;
  return needed;
}

aio::Task<std::optional<std::uint64_t>> BlkverifyDriver::allocated_bytes() {
  co_return std::nullopt;
}

}  // namespace blockexport::drivers
