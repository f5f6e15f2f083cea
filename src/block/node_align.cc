// The part of Node that fits requests to what the driver takes: aligned, and not too long.
#include <algorithm>

#include "aio/current.h"
#include "block/buffers.h"
#include "block/node.h"

namespace blockexport::block {

bool Node::is_aligned(Range range) const {
  return ((range.offset | range.length) & (limits_.request_alignment - 1)) == 0;
}

bool Node::is_direct(Range range, IoBuffers buffers) const {
  if (range.length > limits_.transfer_bytes_max || !is_aligned(range)) return false;
  return limits_.memory_alignment == 1 || block::is_aligned(buffers, limits_.memory_alignment);
}

Range Node::aligned_around(Range range) const {
  std::uint64_t mask = limits_.request_alignment - 1;
  std::uint64_t start = range.offset & ~mask;
  return {start, ((range.end() + mask) & ~mask) - start};
}

std::uint64_t Node::bounce_step_max() const {
  return std::min<std::uint64_t>(kBounceBytesMax, limits_.transfer_bytes_max);
}

std::uint64_t Node::bounce_bytes(Range range) const {
  if (is_aligned(range)) return 0;
  // A step may be surrounded by the rest of two blocks.
  return std::min(aligned_around(range).length, bounce_step_max() + 2 * limits_.request_alignment);
}

std::uint64_t Node::bounce_bytes_of_zeroes(Range range) const {
  // Zeroes of less than two blocks, and the three that they lie in.
  return is_aligned(range) ? 0 : 5 * limits_.request_alignment;
}

// No coroutine: the driver's own is the one that is awaited.
aio::Task<IoResult> Node::read_any(Range range, IoBuffers buffers) {
  return is_direct(range, buffers) ? driver_.read(range, buffers) : read_pieces(range, buffers);
}

aio::Task<IoResult> Node::read_long(Range range, IoBuffers buffers) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  std::uint64_t done = 0;
  while (done < range.length) {
    const Range piece{range.offset + done, std::min(kReadPieceBytes, range.length - done)};
    std::vector<iovec> vectors = slice(buffers, done, piece.length);
    // What has to be waited for, or fails, is for the verb, with all that is left.
    if (!is_direct(piece, vectors) || !driver_.try_read(reactor, piece, vectors)) break;
    done += piece.length;
    if (done < range.length) co_await aio::next_turn();
  }
  if (done == range.length) co_return IoResult();
  std::vector<iovec> rest = slice(buffers, done, range.length - done);
  co_return co_await read_any(Range{range.offset + done, range.length - done}, rest);
}

aio::Task<IoResult> Node::read_pieces(Range range, IoBuffers buffers) {
  if (!is_aligned(range) || !block::is_aligned(buffers, limits_.memory_alignment)) {
    co_return co_await read_bounced(range, buffers);
  }
  for (std::uint64_t done = 0; done < range.length;) {
    std::uint64_t length = std::min(range.length - done, limits_.transfer_bytes_max);
    std::vector<iovec> piece = slice(buffers, done, length);
    IoResult result = co_await driver_.read(Range{range.offset + done, length}, piece);
    if (!result) co_return result;
    done += length;
  }
  co_return IoResult();
}

aio::Task<IoResult> Node::read_bounced(Range range, IoBuffers buffers) {
  const std::uint64_t step_max = bounce_step_max();
  Range around = aligned_around(range);
  AlignedMemory memory(std::min(around.length, step_max),
                       std::max(limits_.memory_alignment, limits_.request_alignment));
  if (!memory) co_return fail(ENOMEM);
  for (std::uint64_t at = around.offset; at < around.end();) {
    std::uint64_t length = std::min(around.end() - at, step_max);
    iovec bounce{memory.bytes().data(), length};
    IoResult result = co_await driver_.read(Range{at, length}, IoBuffers(&bounce, 1));
    if (!result) co_return result;
    std::uint64_t first = std::max(at, range.offset);
    std::uint64_t last = std::min(at + length, range.end());
    copy_in(buffers, first - range.offset, memory.bytes().subspan(first - at, last - first));
    at += length;
  }
  co_return IoResult();
}

aio::Task<IoResult> Node::write_any(Range range, IoBuffers buffers, WriteOptions options) {
  if (limits_.request_alignment == 1) co_return co_await write_pieces(range, buffers, options);
  auto kind = is_aligned(range) ? RangeLock::Kind::kShared : RangeLock::Kind::kExclusive;
  RangeLock::Hold hold(writes_, co_await aio::current_reactor(), aligned_around(range), kind);
  co_await hold.acquire();
  co_return co_await write_pieces(range, buffers, options);
}

aio::Task<IoResult> Node::write_pieces(Range range, IoBuffers buffers, WriteOptions options) {
  if (!is_aligned(range) || !block::is_aligned(buffers, limits_.memory_alignment)) {
    co_return co_await write_bounced(range, buffers, options);
  }
  for (std::uint64_t done = 0; done < range.length;) {
    std::uint64_t length = std::min(range.length - done, limits_.transfer_bytes_max);
    std::vector<iovec> piece = slice(buffers, done, length);
    IoResult result = co_await driver_.write(Range{range.offset + done, length}, piece, options);
    if (!result) co_return result;
    done += length;
  }
  co_return IoResult();
}

aio::Task<IoResult> Node::write_bounced(Range range, IoBuffers buffers, WriteOptions options) {
  const std::uint64_t step_max = bounce_step_max();
  for (std::uint64_t done = 0; done < range.length;) {
    // Every step but the last ends at a block's border.
    std::uint64_t at = range.offset + done;
    std::uint64_t block_start = at & ~std::uint64_t{limits_.request_alignment - 1};
    std::uint64_t length = std::min(range.length - done, block_start + step_max - at);
    IoResult result = co_await write_one_bounced(Range{at, length}, buffers, done, options);
    if (!result) co_return result;
    done += length;
  }
  co_return IoResult();
}

// Writes the part of `buffers` from `done` over `range`, with what surrounds it in the first and the last block.
aio::Task<IoResult> Node::write_one_bounced(Range range, IoBuffers buffers, std::uint64_t done, WriteOptions options) {
  std::uint64_t block_bytes = limits_.request_alignment;
  Range around = aligned_around(range);
  AlignedMemory memory(around.length, std::max(limits_.memory_alignment, limits_.request_alignment));
  if (!memory) co_return fail(ENOMEM);
  std::byte* bytes = memory.bytes().data();

  bool head = range.offset != around.offset;
  bool tail = range.end() != around.end();
  if (head) {
    iovec vector{bytes, block_bytes};
    IoResult result = co_await driver_.read(Range{around.offset, block_bytes}, IoBuffers(&vector, 1));
    if (!result) co_return result;
  }
  if (tail && !(head && around.length == block_bytes)) {
    iovec vector{bytes + around.length - block_bytes, block_bytes};
    IoResult result = co_await driver_.read(Range{around.end() - block_bytes, block_bytes}, IoBuffers(&vector, 1));
    if (!result) co_return result;
  }
  copy_out(buffers, done, memory.bytes().subspan(range.offset - around.offset, range.length));
  iovec vector{bytes, around.length};
  co_return co_await driver_.write(around, IoBuffers(&vector, 1), options);
}

aio::Task<IoResult> Node::write_zeroes_any(Range range, ZeroOptions options) {
  if (limits_.request_alignment == 1) co_return co_await driver_.write_zeroes(range, options);

  auto kind = is_aligned(range) ? RangeLock::Kind::kShared : RangeLock::Kind::kExclusive;
  RangeLock::Hold hold(writes_, co_await aio::current_reactor(), aligned_around(range), kind);
  co_await hold.acquire();
  std::uint64_t mask = limits_.request_alignment - 1;
  std::uint64_t start = (range.offset + mask) & ~mask;
  std::uint64_t end = range.end() & ~mask;
  if (start >= end) co_return co_await write_zeroes_edge(range, options.force_unit_access);

  // The whole blocks first: when the driver refuses them, nothing has changed.
  CO_TRY(co_await driver_.write_zeroes(Range{start, end - start}, options));
  IoResult result;
  if (start > range.offset) {
    result = co_await write_zeroes_edge(Range{range.offset, start - range.offset}, options.force_unit_access);
  }
  if (result && range.end() > end) {
    result = co_await write_zeroes_edge(Range{end, range.end() - end}, options.force_unit_access);
  }
  co_return after_a_change(result);
}

// Less than two blocks of zeros, written as data.
aio::Task<IoResult> Node::write_zeroes_edge(Range range, bool force_unit_access) {
  std::vector<std::byte> zeros(range.length);
  iovec vector{zeros.data(), zeros.size()};
  co_return co_await write_bounced(range, IoBuffers(&vector, 1), WriteOptions{force_unit_access});
}

}  // namespace blockexport::block
