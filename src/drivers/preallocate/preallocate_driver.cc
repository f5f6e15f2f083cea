#include "drivers/preallocate/preallocate_driver.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/task/current.h"
#include "drivers/options.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Permission;
using block::Permissions;
using block::Range;
using block::RangeLock;

namespace {
constexpr auto kGrowing = Permission::kWrite | Permission::kResize;
constexpr Range kWholeLock{0, 1};
}  // namespace

std::uint64_t PreallocateDriver::size_bytes() const {
  const std::uint64_t size_bytes = size_bytes_.load(std::memory_order_acquire);
  return size_bytes == kSizeOfFile ? file().size_bytes() : size_bytes;
}

std::uint64_t PreallocateDriver::end_of_space(std::uint64_t end) const {
  const std::uint64_t alignment_bytes = std::max<std::uint64_t>(options_.alignment_bytes, 1);
  if (options_.step_bytes > block::kNodeBytesMax - end) return end;
  const std::uint64_t space_end = end + options_.step_bytes;
  const std::uint64_t over_bytes = space_end % alignment_bytes;
  if (over_bytes == 0) return space_end;
  const std::uint64_t missing_bytes = alignment_bytes - over_bytes;
  return missing_bytes > block::kNodeBytesMax - space_end ? end : space_end + missing_bytes;
}

aio::Task<void> PreallocateDriver::allocate(std::uint64_t end) {
  const std::uint64_t file_bytes = file().size_bytes();
  if (!may_allocate_.load(std::memory_order_acquire)) co_return;
  // From here on the space beyond the size is not part of the node.
  if (size_bytes_.load(std::memory_order_relaxed) == kSizeOfFile) {
    size_bytes_.store(file_bytes, std::memory_order_release);
  }
  if (end <= file_bytes) co_return;
  const Range space{file_bytes, end_of_space(end) - file_bytes};
  (void)co_await file().write_zeroes(space, {.no_fallback = true, .may_grow = true});
}

void PreallocateDriver::raise_size(std::uint64_t end) {
  std::uint64_t seen = size_bytes_.load(std::memory_order_relaxed);
  while (seen != kSizeOfFile && seen < end &&
         !size_bytes_.compare_exchange_weak(seen, end, std::memory_order_release)) {
  }
}

aio::Task<void> PreallocateDriver::begin_growth(std::uint64_t end) {
  RangeLock::Hold hold(growth_, co_await aio::current_reactor(), kWholeLock, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  co_await allocate(end);
  // Even if the write fails: it may have changed bytes up to there, and all bytes beyond the size are zeros.
  raise_size(end);
}

aio::Task<bool> PreallocateDriver::begin_growth_of_zeros(Range range) {
  RangeLock::Hold hold(growth_, co_await aio::current_reactor(), kWholeLock, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  co_await allocate(range.end());
  const std::uint64_t before_bytes = size_bytes_.load(std::memory_order_acquire);
  const bool is_there =
      before_bytes != kSizeOfFile && range.offset >= before_bytes && range.end() <= file().size_bytes();
  raise_size(range.end());
  co_return is_there;
}

aio::Task<IoResult> PreallocateDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  if (!options.may_grow || !is_past_end(range.end())) return file().write(range, buffers, options);
  return grow_and_write(range, buffers, options);
}

aio::Task<IoResult> PreallocateDriver::grow_and_write(Range range, IoBuffers buffers, block::WriteOptions options) {
  co_await begin_growth(range.end());
  co_return co_await file().write(range, buffers, options);
}

aio::Task<IoResult> PreallocateDriver::write_zeroes(Range range, block::ZeroOptions options) {
  if (!options.may_grow || !is_past_end(range.end())) return file().write_zeroes(range, options);
  return grow_and_write_zeroes(range, options);
}

aio::Task<IoResult> PreallocateDriver::grow_and_write_zeroes(Range range, block::ZeroOptions options) {
  if (!co_await begin_growth_of_zeros(range)) co_return co_await file().write_zeroes(range, options);
  if (!options.force_unit_access) co_return IoResult();
  co_return block::after_a_change(co_await file().flush());
}

aio::Task<IoResult> PreallocateDriver::grow(std::uint64_t size_bytes) {
  co_await begin_growth(size_bytes);
  co_return co_await file().grow(size_bytes);
}

aio::Task<void> PreallocateDriver::cut() {
  RangeLock::Hold hold(growth_, co_await aio::current_reactor(), kWholeLock, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  const std::uint64_t size_bytes = size_bytes_.load(std::memory_order_acquire);
  if (size_bytes == kSizeOfFile) co_return;
  // A file that cannot be cut stays longer, as after a crash.
  if (file().size_bytes() > size_bytes && !co_await file().resize(size_bytes)) co_return;
  size_bytes_.store(kSizeOfFile, std::memory_order_release);
}

aio::Task<void> PreallocateDriver::quiesce() {
  return cut();
}

Permissions PreallocateDriver::child_permissions(const block::Edge&, const Permissions& own, bool) const {
  Permissions needed = own;
  // Nobody else may see the space as part of the file, or use it.
  if (own.used.contains(kGrowing)) needed.shared = needed.shared - kGrowing;
  return needed;
}

aio::Task<Result<>> PreallocateDriver::set_permissions(Permissions permissions) {
  const bool may = permissions.used.contains(kGrowing) && (permissions.shared & kGrowing).empty();
  may_allocate_.store(may, std::memory_order_release);
  if (!may) co_await cut();
  co_return Result<>();
}

aio::Task<Result<>> PreallocateDriver::resize(std::uint64_t size_bytes) {
  co_await cut();
  co_return co_await file().resize(size_bytes);
}

aio::Task<Result<>> PreallocateDriver::prepare_reopen(const schema::BlockdevOptions& before,
                                                      const schema::BlockdevOptions& after, block::NodeOptions&,
                                                      block::ReopenChildren&) {
  const auto& old_options = before.as<schema::BlockdevDriver::kPreallocate>();
  const auto& new_options = after.as<schema::BlockdevDriver::kPreallocate>();
  CO_TRY_ASSIGN(next_options_, preallocate_options(new_options));
  // As in the reference, an option that was given once is given again.
  if (old_options.prealloc_align && !new_options.prealloc_align) co_return fail(changed_option("prealloc-align", true));
  if (old_options.prealloc_size && !new_options.prealloc_size) co_return fail(changed_option("prealloc-size", true));
  co_return Result<>();
}

aio::Task<void> PreallocateDriver::commit_reopen() {
  options_ = next_options_;
  co_return;
}

}  // namespace blockexport::drivers
