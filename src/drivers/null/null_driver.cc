#include "drivers/null/null_driver.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "block/node.h"
#include "drivers/options.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Range;

namespace {

const schema::BlockdevOptionsNull& options_in(const schema::BlockdevOptions& options) {
  const auto* aio = options.as_if<schema::BlockdevDriver::kNullAio>();
  return aio != nullptr ? *aio : options.as<schema::BlockdevDriver::kNullCo>();
}

}  // namespace

NullDriver::NullDriver(NullOptions options) : options_(options) {
  constexpr std::uint64_t kMask = 511;
  options_.size_bytes = (options_.size_bytes + kMask) & ~kMask;
}

aio::Task<IoResult> NullDriver::take_time() const {
  if (options_.latency_ns == 0) co_return IoResult();
  aio::Reactor& reactor = co_await aio::current_reactor();
  co_return co_await reactor.sleep_until(reactor.now_ns() + options_.latency_ns);
}

aio::Task<IoResult> NullDriver::read(Range range, IoBuffers buffers) {
  if (range.length > block::Node::kReadAtOnceBytesMax) return read_long(range, buffers);
  block::fill_zero(buffers, 0);
  return take_time();
}

aio::Task<IoResult> NullDriver::read_long(Range range, IoBuffers buffers) const {
  for (std::uint64_t done = 0; done < range.length;) {
    const std::uint64_t length = std::min(block::Node::kReadPieceBytes, range.length - done);
    block::fill_zero(block::slice(buffers, done, length), 0);
    done += length;
    if (done < range.length) co_await aio::next_turn();
  }
  co_return co_await take_time();
}

aio::Task<IoResult> NullDriver::write(Range, IoBuffers, block::WriteOptions) {
  return take_time();
}
aio::Task<IoResult> NullDriver::write_zeroes(Range, block::ZeroOptions) {
  return take_time();
}
aio::Task<IoResult> NullDriver::discard(Range) {
  co_return IoResult();
}
aio::Task<IoResult> NullDriver::flush() {
  return take_time();
}

block::Extent NullDriver::extent_of(Range range) const {
  return {.length = range.length, .zero = options_.read_zeroes, .depth = 0};
}

aio::Task<IoResult> NullDriver::extents(Range range, block::Extents& extents) {
  extents.push_back(extent_of(range));
  co_return IoResult();
}

aio::Task<IoResult> NullDriver::prefetch(Range) {
  co_return IoResult();
}

IoResult NullDriver::try_read(aio::Reactor&, Range, IoBuffers buffers, block::InlineHints&) {
  if (options_.latency_ns != 0) return fail(EAGAIN);
  block::fill_zero(buffers, 0);
  return {};
}

IoResult NullDriver::try_write(aio::Reactor&, Range, IoBuffers, block::InlineHints&) {
  if (options_.latency_ns != 0) return fail(EAGAIN);
  return {};
}

IoResult NullDriver::try_extents(aio::Reactor&, Range range, block::Extents& extents) {
  extents.push_back(extent_of(range));
  return {};
}

std::string NullDriver::filename() const {
  return fmt::format("{}://", options_.format_name);
}

aio::Task<std::optional<std::uint64_t>> NullDriver::allocated_bytes() {
  co_return 0;
}

aio::Task<Result<>> NullDriver::prepare_reopen(const schema::BlockdevOptions& before,
                                               const schema::BlockdevOptions& after, block::NodeOptions&,
                                               block::ReopenChildren&) {
  const auto& [old_size, old_latency, old_zeroes] = options_in(before);
  const auto& [new_size, new_latency, new_zeroes] = options_in(after);
  CO_TRY(check_unchanged("size", old_size, new_size));
  CO_TRY(check_unchanged("latency-ns", old_latency, new_latency));
  CO_TRY(check_unchanged("read-zeroes", old_zeroes, new_zeroes));
  co_return Result<>();
}

}  // namespace blockexport::drivers
