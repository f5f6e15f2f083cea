#include "drivers/raw/raw_driver.h"

#include <fmt/format.h>

#include "block/debug_events.h"
#include "block/edge.h"
#include "drivers/options.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Permission;
using block::Permissions;
using block::Range;

Result<> RawDriver::check(const RawOptions& options, std::uint64_t file_bytes) {
  if (options.offset > file_bytes) {
    return fail(
        fmt::format("Offset ({}) cannot be greater than size of the containing file ({})", options.offset, file_bytes));
  }
  if (!options.size_bytes) return {};
  if (*options.size_bytes > file_bytes - options.offset) {
    return fail(
        fmt::format("The sum of offset ({}) and size ({}) has to be smaller or equal to the  actual size of "
                    "the containing file ({})",
                    options.offset, *options.size_bytes, file_bytes));
  }
  if (*options.size_bytes % 512 != 0) return fail("Specified size is not multiple of 512");
  return {};
}

block::ChildRoles RawDriver::roles_of(const RawOptions& options) {
  return is_whole(options) ? block::ChildRole::kFiltered : block::ChildRole::kData;
}

Result<std::unique_ptr<RawDriver>> RawDriver::open(RawOptions options, std::unique_ptr<block::Edge> file) {
  TRY(check(options, file->node().size_bytes()));
  file->set_roles(roles_of(options));
  return std::unique_ptr<RawDriver>(new RawDriver(options, std::move(file)));
}

aio::Task<IoResult> RawDriver::read(Range range, IoBuffers buffers) {
  block::debug_event(*file_, block::DebugEvent::kReadAio);
  return file().read(in_file(range), buffers);
}

aio::Task<IoResult> RawDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  block::debug_event(*file_, block::DebugEvent::kWriteAio);
  return file().write(in_file(range), buffers, options);
}

aio::Task<IoResult> RawDriver::write_zeroes(Range range, block::ZeroOptions options) {
  return file().write_zeroes(in_file(range), options);
}

aio::Task<IoResult> RawDriver::discard(Range range) {
  return file().discard(in_file(range));
}

aio::Task<IoResult> RawDriver::grow(std::uint64_t size_bytes) {
  if (options_.size_bytes || size_bytes > block::kNodeBytesMax - options_.offset)
    return block::Driver::grow(size_bytes);
  return file().grow(size_bytes + options_.offset);
}

aio::Task<IoResult> RawDriver::flush() {
  block::debug_event(*file_, block::DebugEvent::kFlushToOs);
  block::debug_event(*file_, block::DebugEvent::kFlushToDisk);
  return file().flush();
}

aio::Task<IoResult> RawDriver::extents(Range range, block::Extents& extents) {
  return file().extents(in_file(range), extents);
}

aio::Task<std::expected<block::DataPlace, Errno>> RawDriver::locate(Range range) {
  co_return block::DataPlace{
      .kind = block::DataPlaceKind::kPassed, .length = range.length, .node = &file(), .offset = in_file(range).offset};
}

aio::Task<IoResult> RawDriver::prefetch(Range range) {
  return file().prefetch(in_file(range));
}

IoResult RawDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return file().try_read(reactor, in_file(range), buffers, hints);
}

IoResult RawDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return file().try_write(reactor, in_file(range), buffers, hints);
}

IoResult RawDriver::try_extents(aio::Reactor& reactor, Range range, block::Extents& extents) {
  return file().try_extents(reactor, in_file(range), extents);
}

std::expected<block::FileSpan, Errno> RawDriver::try_share(aio::Reactor& reactor, Range range) {
  return file().try_share(reactor, in_file(range));
}

aio::Task<IoResult> RawDriver::read_shared(Range range, IoBuffers buffers) {
  return file().read_shared(in_file(range), buffers);
}

std::uint64_t RawDriver::size_bytes() const {
  if (options_.size_bytes) return *options_.size_bytes;
  std::uint64_t file_bytes = file().size_bytes();
  // The child may have shrunk since this node was opened.
  return file_bytes > options_.offset ? file_bytes - options_.offset : 0;
}

block::Limits RawDriver::limits() const {
  // The child accepts requests of any alignment, so this node passes on only its preferred sizes.
  return {.optimal_bytes = file().limits().optimal_bytes};
}

Permissions RawDriver::child_permissions(const block::Edge&, const Permissions& own, bool) const {
  Permissions needed = own;
  // A resize of the child by others could cut off the part.
  if (!is_whole(options_)) needed.shared = needed.shared - Permission::kResize;
  return needed;
}

aio::Task<Result<block::ImageIdentity>> RawDriver::identify() {
  CO_TRY_ASSIGN(block::ImageIdentity image, co_await file().driver().identify());
  if (options_.offset != 0) image.identity += fmt::format(" from {}", options_.offset);
  if (options_.size_bytes) image.identity += fmt::format(" length {}", *options_.size_bytes);
  co_return image;
}

aio::Task<Result<>> RawDriver::resize(std::uint64_t size_bytes) {
  if (options_.size_bytes) co_return fail("Cannot resize fixed-size raw disks");
  if (size_bytes > INT64_MAX - options_.offset) co_return fail("Disk size too large for the chosen offset");
  co_return co_await file().resize(size_bytes + options_.offset);
}

aio::Task<Result<>> RawDriver::prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions& after,
                                              block::NodeOptions&, block::ReopenChildren&) {
  CO_TRY_ASSIGN(next_options_, raw_options(after.as<schema::BlockdevDriver::kRaw>()));
  co_return check(next_options_, file().size_bytes());
}

aio::Task<void> RawDriver::commit_reopen() {
  options_ = next_options_;
  file_->set_roles(roles_of(options_));
  co_return;
}

}  // namespace blockexport::drivers
