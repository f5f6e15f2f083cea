// Node: alignment and splitting of requests for the driver.
#include <algorithm>
#include <cstring>

#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/debug_events.h"
#include "block/node.h"

namespace blockexport::block {
namespace {

// The largest range inside of `range` whose ends are multiples of `alignment`, or an empty one.
Range aligned_inside(Range range, std::uint64_t alignment) {
  const std::uint64_t start = (range.offset + alignment - 1) & ~(alignment - 1);
  const std::uint64_t end = range.end() & ~(alignment - 1);
  return start < end ? Range{start, end - start} : Range{};
}

void tell(const Driver& driver, DebugEvent event) {
  if (DebugListener* listener = driver.debug_listener()) listener->debug_event(event);
}

}  // namespace

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
  // A step may need the rest of a block at either end.
  return std::min(aligned_around(range).length, bounce_step_max() + 2 * limits_.request_alignment);
}

std::uint64_t Node::bounce_bytes_of_zeroes(Range range) const {
  // Zeroes of less than two blocks, and the up to three blocks that they touch.
  return is_aligned(range) ? 0 : 5 * limits_.request_alignment;
}

// No coroutine: it returns the driver's own.
aio::Task<IoResult> Node::read_any(Range range, IoBuffers buffers) {
  return is_direct(range, buffers) ? driver_.read(range, buffers) : read_pieces(range, buffers);
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
    // Every step except the last ends at a block boundary.
    std::uint64_t at = range.offset + done;
    std::uint64_t block_start = at & ~std::uint64_t{limits_.request_alignment - 1};
    std::uint64_t length = std::min(range.length - done, block_start + step_max - at);
    IoResult result = co_await write_one_bounced(Range{at, length}, buffers, done, options);
    if (!result) co_return result;
    done += length;
  }
  co_return IoResult();
}

// Writes the part of `buffers` from `done` over `range`, together with the bytes around it in the first and the last
// block.
aio::Task<IoResult> Node::write_one_bounced(Range range, IoBuffers buffers, std::uint64_t done, WriteOptions options) {
  std::uint64_t block_bytes = limits_.request_alignment;
  Range around = aligned_around(range);
  AlignedMemory memory(around.length, std::max(limits_.memory_alignment, limits_.request_alignment));
  if (!memory) co_return fail(ENOMEM);
  std::byte* bytes = memory.bytes().data();

  bool head = range.offset != around.offset;
  bool tail = range.end() != around.end();
  if (head) {
    tell(*driver_, DebugEvent::kPwritevRmwHead);
    CO_TRY(co_await read_block({around.offset, block_bytes}, bytes));
    tell(*driver_, DebugEvent::kPwritevRmwAfterHead);
  }
  if (tail && !(head && around.length == block_bytes)) {
    tell(*driver_, DebugEvent::kPwritevRmwTail);
    CO_TRY(co_await read_block({around.end() - block_bytes, block_bytes}, bytes + around.length - block_bytes));
    tell(*driver_, DebugEvent::kPwritevRmwAfterTail);
  }
  copy_out(buffers, done, memory.bytes().subspan(range.offset - around.offset, range.length));
  iovec vector{bytes, around.length};
  co_return co_await driver_.write(around, IoBuffers(&vector, 1), options);
}

aio::Task<IoResult> Node::read_block(Range block, std::byte* bytes) {
  // Only a write that makes the node larger uses a block past its end.
  if (block.offset >= size_bytes()) {
    std::memset(bytes, 0, block.length);
    co_return IoResult();
  }
  iovec vector{bytes, block.length};
  co_return co_await driver_.read(block, IoBuffers(&vector, 1));
}

aio::Task<IoResult> Node::write_zeroes_any(Range range, ZeroOptions options) {
  if (limits_.request_alignment == 1) co_return co_await write_zeroes_blocks(range, options);

  auto kind = is_aligned(range) ? RangeLock::Kind::kShared : RangeLock::Kind::kExclusive;
  RangeLock::Hold hold(writes_, co_await aio::current_reactor(), aligned_around(range), kind);
  co_await hold.acquire();
  const Range whole = aligned_inside(range, limits_.request_alignment);
  if (whole.empty()) co_return co_await write_zeros_as_data(range, options);

  // The whole blocks first: if the driver refuses them, nothing has changed.
  CO_TRY(co_await write_zeroes_blocks(whole, options));
  IoResult result;
  if (whole.offset > range.offset) {
    result = co_await write_zeros_as_data({range.offset, whole.offset - range.offset}, options);
  }
  if (result && range.end() > whole.end()) {
    result = co_await write_zeros_as_data({whole.end(), range.end() - whole.end()}, options);
  }
  co_return after_a_change(result);
}

// No coroutine: for a driver that supports any zeroes, it returns the driver's own.
aio::Task<IoResult> Node::write_zeroes_blocks(Range range, ZeroOptions options) {
  const bool takes_any = limits_.zeroes_alignment <= limits_.request_alignment;
  if (takes_any && range.length <= limits_.zeroes_bytes_max) return driver_.write_zeroes(range, options);
  return write_zeroes_pieces(range, options);
}

aio::Task<IoResult> Node::write_zeroes_pieces(Range range, ZeroOptions options) {
  const Range middle = aligned_inside(range, std::max(limits_.zeroes_alignment, limits_.request_alignment));
  if (middle.empty()) co_return co_await write_zeroes_piece(range, options);
  // First the part that the driver may refuse, while nothing has changed.
  CO_TRY(co_await write_zeroes_in_steps(middle, options));
  options.no_fallback = false;
  IoResult result;
  if (middle.offset > range.offset) {
    result = co_await write_zeroes_piece({range.offset, middle.offset - range.offset}, options);
  }
  if (result && range.end() > middle.end()) {
    result = co_await write_zeroes_piece({middle.end(), range.end() - middle.end()}, options);
  }
  co_return after_a_change(result);
}

aio::Task<IoResult> Node::write_zeroes_in_steps(Range range, ZeroOptions options) {
  const std::uint64_t alignment = std::max(limits_.zeroes_alignment, limits_.request_alignment);
  const std::uint64_t step_max = std::max(limits_.zeroes_bytes_max & ~(alignment - 1), alignment);
  for (std::uint64_t done = 0; done < range.length;) {
    const std::uint64_t length = std::min(range.length - done, step_max);
    IoResult result = co_await write_zeroes_piece({range.offset + done, length}, options);
    if (!result) co_return done == 0 ? result : after_a_change(result);
    done += length;
    options.no_fallback = false;
  }
  co_return IoResult();
}

// Zeroes that the driver does not support are written as data, unless the caller prefers ENOTSUP.
aio::Task<IoResult> Node::write_zeroes_piece(Range range, ZeroOptions options) {
  IoResult result = co_await driver_.write_zeroes(range, options);
  if (result || result.error() != Errno(ENOTSUP) || options.no_fallback) co_return result;
  co_return co_await write_zeros_as_data(range, options);
}

aio::Task<IoResult> Node::write_zeros_as_data(Range range, const ZeroOptions& options) {
  const WriteOptions writing{.force_unit_access = options.force_unit_access, .may_grow = options.may_grow};
  AlignedMemory zeros(std::min(range.length, kBounceBytesMax),
                      std::max(limits_.memory_alignment, limits_.request_alignment));
  if (!zeros) co_return fail(ENOMEM);
  std::ranges::fill(zeros.bytes(), std::byte{0});
  for (std::uint64_t done = 0; done < range.length;) {
    iovec vector{zeros.bytes().data(), std::min(range.length - done, kBounceBytesMax)};
    CO_TRY(co_await write_pieces({range.offset + done, vector.iov_len}, IoBuffers(&vector, 1), writing));
    done += vector.iov_len;
  }
  co_return IoResult();
}

// Only whole blocks: a discard is a hint, so partial blocks can be left out. The last block may extend past the node's
// end.
Range Node::discardable(Range range) const {
  const std::uint64_t alignment = std::max(limits_.discard_alignment, limits_.request_alignment);
  const std::uint64_t start = (range.offset + alignment - 1) & ~(alignment - 1);
  const std::uint64_t end = range.end() == size_bytes() ? aligned_around(range).end() : range.end() & ~(alignment - 1);
  return start < end ? Range{start, end - start} : Range{};
}

aio::Task<IoResult> Node::discard_any(Range range) {
  if (range.length <= limits_.discard_bytes_max) co_return co_await driver_.discard(range);
  const std::uint64_t alignment = std::max(limits_.discard_alignment, limits_.request_alignment);
  const std::uint64_t step_max = std::max(limits_.discard_bytes_max & ~(alignment - 1), alignment);
  for (std::uint64_t done = 0; done < range.length;) {
    const std::uint64_t length = std::min(range.length - done, step_max);
    CO_TRY(co_await driver_.discard({range.offset + done, length}));
    done += length;
  }
  co_return IoResult();
}

}  // namespace blockexport::block
