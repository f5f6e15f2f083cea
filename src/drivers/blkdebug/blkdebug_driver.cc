#include "drivers/blkdebug/blkdebug_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "block/buffers.h"
#include "drivers/options.h"

namespace blockexport::drivers {
namespace {

using block::DebugEvent;
using block::IoBuffers;
using block::Range;

// Largest alignment that a node supports (block/io.h).
constexpr std::uint64_t kAlignmentBytesMax = 65536;

Result<> check_limit(std::string_view name, std::uint64_t bytes, std::uint64_t multiple_of, bool is_alignment) {
  const bool is_multiple = multiple_of == 0 || bytes % multiple_of == 0;
  const bool is_right = is_alignment ? bytes <= kAlignmentBytesMax && std::has_single_bit(bytes) : bytes < INT32_MAX;
  if (bytes == 0 || (is_multiple && is_right)) return {};
  Error error(fmt::format("Cannot meet constraints with {} {}", name, bytes));
  if (!is_alignment) return fail(std::move(error));
  return fail(
      std::move(error).with_hint(fmt::format("An alignment is a power of two of at most {} bytes, and a "
                                             "multiple of 'align'.",
                                             kAlignmentBytesMax)));
}

Result<> check_limits(const BlkdebugLimits& limits) {
  TRY(check_limit("align", limits.alignment, 0, true));
  TRY(check_limit("max-transfer", limits.transfer_bytes_max, limits.alignment, false));
  TRY(check_limit("opt-write-zero", limits.zeroes_alignment, limits.alignment, true));
  TRY(check_limit("max-write-zero", limits.zeroes_bytes_max, std::max(limits.zeroes_alignment, limits.alignment),
                  false));
  TRY(check_limit("opt-discard", limits.discard_alignment, limits.alignment, true));
  return check_limit("max-discard", limits.discard_bytes_max, std::max(limits.discard_alignment, limits.alignment),
                     false);
}

// A member of a rule as a number, by which two rules are compared; nullopt: it was left out.
template <class Member>
std::optional<std::int64_t> number_of(const Member& member) {
  return static_cast<std::int64_t>(member);
}
template <class Member>
std::optional<std::int64_t> number_of(const std::optional<Member>& member) {
  return member ? number_of(*member) : std::nullopt;
}

// A list of rules as options: names with the position in the list, and values.
template <class Rule>
std::vector<std::pair<std::string, std::int64_t>> flat(std::string_view name,
                                                       const std::optional<std::vector<Rule>>& rules) {
  std::vector<std::pair<std::string, std::int64_t>> options;
  for (std::size_t i = 0; rules && i < rules->size(); ++i) {
    auto add = [&](std::string_view member_name, const auto& member) {
      const std::optional<std::int64_t> number = number_of(member);
      if (number) options.emplace_back(fmt::format("{}.{}.{}", name, i, member_name), *number);
    };
    (*rules)[i].for_each_member(add);
  }
  return options;
}

template <class Rule>
Result<> check_same_rules(std::string_view name, const std::optional<std::vector<Rule>>& before,
                          const std::optional<std::vector<Rule>>& after) {
  const auto old_options = flat(name, before);
  const auto new_options = flat(name, after);
  for (const auto& option : new_options) {
    if (std::ranges::find(old_options, option) == old_options.end()) return fail(changed_option(option.first, false));
  }
  for (const auto& option : old_options) {
    if (std::ranges::find(new_options, option) == new_options.end()) return fail(changed_option(option.first, true));
  }
  return {};
}

}  // namespace

BlkdebugDriver::BlkdebugDriver(BlkdebugOptions options, std::unique_ptr<block::Edge> image)
    : limits_(options.limits),
      take_(options.take),
      unshare_(options.unshare),
      rules_(std::move(options.rules)),
      image_(std::move(image)) {
  if (!rules_.empty()) set_debug_listener(rules_);
}

Result<std::unique_ptr<BlkdebugDriver>> BlkdebugDriver::open(BlkdebugOptions options,
                                                             std::unique_ptr<block::Edge> image) {
  TRY(check_limits(options.limits));
  return std::unique_ptr<BlkdebugDriver>(new BlkdebugDriver(std::move(options), std::move(image)));
}

block::Limits BlkdebugDriver::limits() const {
  block::Limits limits;
  const auto align = static_cast<std::uint32_t>(std::max<std::uint64_t>(limits_.alignment, 1));
  limits.request_alignment = align;
  limits.optimal_bytes = std::max(image().limits().optimal_bytes, align);
  if (limits_.transfer_bytes_max != 0) limits.transfer_bytes_max = limits_.transfer_bytes_max;
  if (limits_.zeroes_alignment != 0) limits.zeroes_alignment = static_cast<std::uint32_t>(limits_.zeroes_alignment);
  if (limits_.zeroes_bytes_max != 0) limits.zeroes_bytes_max = limits_.zeroes_bytes_max;
  if (limits_.discard_alignment != 0) limits.discard_alignment = static_cast<std::uint32_t>(limits_.discard_alignment);
  if (limits_.discard_bytes_max != 0) limits.discard_bytes_max = limits_.discard_bytes_max;
  return limits;
}

Range BlkdebugDriver::in_image(Range range) const {
  const std::uint64_t size_bytes = image().size_bytes();
  if (range.end() <= size_bytes) return range;
  return {range.offset, size_bytes > range.offset ? size_bytes - range.offset : 0};
}

aio::Task<IoResult> BlkdebugDriver::follow_rules(RequestKind kind, Range range) {
  const std::optional<InjectErrorRule> rule = rules_.take(kind, range);
  if (!rule) co_return IoResult();
  aio::Reactor& reactor = co_await aio::current_reactor();
  // A wait that is cancelled only ends early.
  if (rule->delay_ns != 0) (void)co_await reactor.sleep_until(reactor.now_ns() + rule->delay_ns);
  if (rule->error == 0) co_return IoResult();
  if (!rule->immediately) co_await aio::next_turn();
  co_return fail(rule->error);
}

// Each verb returns the child's own task when there is nothing to check.
aio::Task<IoResult> BlkdebugDriver::read(Range range, IoBuffers buffers) {
  if (rules_.empty() && is_whole(range)) return image().read(range, buffers);
  return read_checked(range, buffers);
}

aio::Task<IoResult> BlkdebugDriver::read_checked(Range range, IoBuffers buffers) {
  CO_TRY(co_await follow_rules(RequestKind::kRead, range));
  const Range inside = in_image(range);
  if (inside.length == range.length) co_return co_await image().read(range, buffers);
  block::fill_zero(buffers, inside.length);
  if (inside.empty()) co_return IoResult();
  const std::vector<iovec> part = block::slice(buffers, 0, inside.length);
  co_return co_await image().read(inside, part);
}

aio::Task<IoResult> BlkdebugDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  if (rules_.empty() && (options.may_grow || is_whole(range))) return image().write(range, buffers, options);
  return write_checked(range, buffers, options);
}

aio::Task<IoResult> BlkdebugDriver::write_checked(Range range, IoBuffers buffers, block::WriteOptions options) {
  rules_.debug_event(DebugEvent::kPwritev);
  IoResult result = co_await follow_rules(RequestKind::kWrite, range);
  const Range inside = options.may_grow ? range : in_image(range);
  if (result && !inside.empty()) {
    const std::vector<iovec> part = block::slice(buffers, 0, inside.length);
    result = co_await image().write(inside, part, options);
  }
  rules_.debug_event(DebugEvent::kPwritevDone);
  co_return result;
}

aio::Task<IoResult> BlkdebugDriver::write_zeroes(Range range, block::ZeroOptions options) {
  if (rules_.empty() && limits_.zeroes_alignment == 0 && (options.may_grow || is_whole(range))) {
    return image().write_zeroes(range, options);
  }
  return write_zeroes_checked(range, options);
}

aio::Task<IoResult> BlkdebugDriver::write_zeroes_checked(Range range, block::ZeroOptions options) {
  rules_.debug_event(DebugEvent::kPwritevZero);
  // The node above then writes them as data.
  if (((range.offset | range.length) & (std::max<std::uint64_t>(limits_.zeroes_alignment, 1) - 1)) != 0) {
    co_return fail(ENOTSUP);
  }
  IoResult result = co_await follow_rules(RequestKind::kWriteZeroes, range);
  const Range inside = options.may_grow ? range : in_image(range);
  if (result && !inside.empty()) result = co_await image().write_zeroes(inside, options);
  rules_.debug_event(DebugEvent::kPwritevDone);
  co_return result;
}

aio::Task<IoResult> BlkdebugDriver::discard(Range range) {
  if (rules_.empty() && is_whole(range)) return image().discard(range);
  return discard_checked(range);
}

aio::Task<IoResult> BlkdebugDriver::discard_checked(Range range) {
  CO_TRY(co_await follow_rules(RequestKind::kDiscard, range));
  const Range inside = in_image(range);
  if (inside.empty()) co_return IoResult();
  co_return co_await image().discard(inside);
}

aio::Task<IoResult> BlkdebugDriver::flush() {
  return rules_.empty() ? image().flush() : flush_checked();
}

aio::Task<IoResult> BlkdebugDriver::flush_checked() {
  CO_TRY(co_await follow_rules(RequestKind::kFlush, {}));
  co_return co_await image().flush();
}

aio::Task<IoResult> BlkdebugDriver::extents(Range range, block::Extents& extents) {
  return rules_.empty() ? image().extents(range, extents) : extents_checked(range, extents);
}

aio::Task<IoResult> BlkdebugDriver::extents_checked(Range range, block::Extents& extents) {
  CO_TRY(co_await follow_rules(RequestKind::kBlockStatus, range));
  co_return co_await image().extents(range, extents);
}

aio::Task<IoResult> BlkdebugDriver::prefetch(Range range) {
  return image().prefetch(range);
}

IoResult BlkdebugDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return rules_.empty() && is_whole(range) ? image().try_read(reactor, range, buffers, hints) : fail(EAGAIN);
}

IoResult BlkdebugDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return rules_.empty() && is_whole(range) ? image().try_write(reactor, range, buffers, hints) : fail(EAGAIN);
}

IoResult BlkdebugDriver::try_extents(aio::Reactor& reactor, Range range, block::Extents& extents) {
  return rules_.empty() ? image().try_extents(reactor, range, extents) : fail(EAGAIN);
}

std::expected<block::FileSpan, Errno> BlkdebugDriver::try_share(aio::Reactor& reactor, Range range) {
  if (!rules_.empty() || !is_whole(range)) return fail(EAGAIN);
  return image().try_share(reactor, range);
}

aio::Task<IoResult> BlkdebugDriver::read_shared(Range range, IoBuffers buffers) {
  return image().read_shared(range, buffers);
}

block::Permissions BlkdebugDriver::child_permissions(const block::Edge&, const block::Permissions& own, bool) const {
  return {.used = own.used | take_, .shared = own.shared - unshare_};
}

aio::Task<Result<>> BlkdebugDriver::prepare_reopen(const schema::BlockdevOptions& before,
                                                   const schema::BlockdevOptions& after, block::NodeOptions&,
                                                   block::ReopenChildren&) {
  const auto& old_options = before.as<schema::BlockdevDriver::kBlkdebug>();
  const auto& new_options = after.as<schema::BlockdevDriver::kBlkdebug>();
  CO_TRY(check_unchanged("config", old_options.config, new_options.config));
  CO_TRY(check_unchanged("align", old_options.align, new_options.align));
  CO_TRY(check_unchanged("max-transfer", old_options.max_transfer, new_options.max_transfer));
  CO_TRY(check_unchanged("opt-write-zero", old_options.opt_write_zero, new_options.opt_write_zero));
  CO_TRY(check_unchanged("max-write-zero", old_options.max_write_zero, new_options.max_write_zero));
  CO_TRY(check_unchanged("opt-discard", old_options.opt_discard, new_options.opt_discard));
  CO_TRY(check_unchanged("max-discard", old_options.max_discard, new_options.max_discard));
  CO_TRY(check_same_rules("inject-error", old_options.inject_error, new_options.inject_error));
  CO_TRY(check_same_rules("set-state", old_options.set_state, new_options.set_state));
  CO_TRY(check_unchanged("take-child-perms.0", old_options.take_child_perms, new_options.take_child_perms));
  co_return check_unchanged("unshare-child-perms.0", old_options.unshare_child_perms, new_options.unshare_child_perms);
}

}  // namespace blockexport::drivers
