#include "drivers/throttle/throttle_driver.h"

#include <fmt/format.h>

#include "schema/block_core.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Range;

Result<std::unique_ptr<ThrottleMember>> ThrottleDriver::join(ThrottleDirectory* groups, const std::string& group_id) {
  std::shared_ptr<ThrottleGroup> group = groups != nullptr ? groups->find_throttle_group(group_id) : nullptr;
  if (group == nullptr) return fail(fmt::format("Throttle group '{}' does not exist", group_id));
  return std::make_unique<ThrottleMember>(std::move(group));
}

Result<std::unique_ptr<ThrottleDriver>> ThrottleDriver::open(ThrottleDirectory* groups, const std::string& group_id,
                                                             std::unique_ptr<block::Edge> file) {
  TRY_ASSIGN(std::unique_ptr<ThrottleMember> member, join(groups, group_id));
  return std::unique_ptr<ThrottleDriver>(new ThrottleDriver(groups, std::move(member), std::move(file)));
}

aio::Task<IoResult> ThrottleDriver::read(Range range, IoBuffers buffers) {
  if (!member_->must_ask(Direction::kRead)) return file().read(range, buffers);
  return wait_and_read(range, buffers);
}

aio::Task<IoResult> ThrottleDriver::wait_and_read(Range range, IoBuffers buffers) {
  CO_TRY(co_await member_->admit(Direction::kRead, range.length));
  co_return co_await file().read(range, buffers);
}

aio::Task<IoResult> ThrottleDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  if (!member_->must_ask(Direction::kWrite)) return file().write(range, buffers, options);
  return wait_and_write(range, buffers, options);
}

aio::Task<IoResult> ThrottleDriver::wait_and_write(Range range, IoBuffers buffers, block::WriteOptions options) {
  CO_TRY(co_await member_->admit(Direction::kWrite, range.length));
  co_return co_await file().write(range, buffers, options);
}

aio::Task<IoResult> ThrottleDriver::write_zeroes(Range range, block::ZeroOptions options) {
  if (!member_->must_ask(Direction::kWrite)) return file().write_zeroes(range, options);
  return wait_and_write_zeroes(range, options);
}

aio::Task<IoResult> ThrottleDriver::wait_and_write_zeroes(Range range, block::ZeroOptions options) {
  CO_TRY(co_await member_->admit(Direction::kWrite, range.length));
  co_return co_await file().write_zeroes(range, options);
}

aio::Task<IoResult> ThrottleDriver::discard(Range range) {
  if (!member_->must_ask(Direction::kWrite)) return file().discard(range);
  return wait_and_discard(range);
}

aio::Task<IoResult> ThrottleDriver::wait_and_discard(Range range) {
  CO_TRY(co_await member_->admit(Direction::kWrite, range.length));
  co_return co_await file().discard(range);
}

aio::Task<IoResult> ThrottleDriver::prefetch(Range range) {
  if (!member_->must_ask(Direction::kRead)) return file().prefetch(range);
  return wait_and_prefetch(range);
}

aio::Task<IoResult> ThrottleDriver::wait_and_prefetch(Range range) {
  CO_TRY(co_await member_->admit(Direction::kRead, range.length));
  co_return co_await file().prefetch(range);
}

// After EAGAIN the caller uses the verb, which asks: a request asks once.
IoResult ThrottleDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  if (member_->must_ask(Direction::kRead)) return fail(EAGAIN);
  return file().try_read(reactor, range, buffers, hints);
}

IoResult ThrottleDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  if (member_->must_ask(Direction::kWrite)) return fail(EAGAIN);
  return file().try_write(reactor, range, buffers, hints);
}

std::expected<block::FileSpan, Errno> ThrottleDriver::try_share(aio::Reactor& reactor, Range range) {
  if (member_->must_ask(Direction::kRead)) return fail(EAGAIN);
  return file().try_share(reactor, range);
}

void ThrottleDriver::begin_drain() {
  ++drains_;
  member_->begin_drain();
}

void ThrottleDriver::end_drain() {
  --drains_;
  member_->end_drain();
}

aio::Task<Result<>> ThrottleDriver::prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions& after,
                                                   block::NodeOptions&, block::ReopenChildren&) {
  const auto& options = after.as<schema::BlockdevDriver::kThrottle>();
  CO_TRY_ASSIGN(next_member_, join(groups_, options.throttle_group));
  co_return Result<>();
}

aio::Task<void> ThrottleDriver::commit_reopen() {
  // A reopen lies within a drain, whose end the new member will be told.
  for (std::uint32_t i = 0; i < drains_; ++i) next_member_->begin_drain();
  member_ = std::move(next_member_);
  co_return;
}

aio::Task<void> ThrottleDriver::abort_reopen() {
  next_member_.reset();
  co_return;
}

}  // namespace blockexport::drivers
