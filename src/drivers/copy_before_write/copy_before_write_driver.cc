#include "drivers/copy_before_write/copy_before_write_driver.h"

#include <fmt/format.h>

#include "block/chain.h"
#include "drivers/options.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Permission;
using block::Permissions;
using block::PermissionSet;
using block::Range;

Result<std::unique_ptr<CopyBeforeWriteDriver>> CopyBeforeWriteDriver::open(CopyBeforeWriteOptions options,
                                                                           std::unique_ptr<block::Edge> file,
                                                                           std::unique_ptr<block::Edge> target,
                                                                           const block::DirtyBits* only,
                                                                           block::PointInTimeObserver* observer) {
  auto clusters = FrozenClusters::create(file->node().size_bytes(), options.cluster_bytes, only);
  if (!clusters) {
    return fail(Error::system("Cannot create block-copy-state: no memory for its clusters", clusters.error())
                    .with_hint("Larger clusters need less memory: see min-cluster-size."));
  }
  return std::unique_ptr<CopyBeforeWriteDriver>(
      new CopyBeforeWriteDriver(options, std::move(file), std::move(target), std::move(*clusters), observer));
}

CopyBeforeWriteDriver::CopyBeforeWriteDriver(CopyBeforeWriteOptions options, std::unique_ptr<block::Edge> file,
                                             std::unique_ptr<block::Edge> target,
                                             std::unique_ptr<FrozenClusters> clusters,
                                             block::PointInTimeObserver* observer)
    : options_(options),
      file_(std::move(file)),
      target_(std::move(target)),
      source_(&block::below_filters(file_->node())),
      scratch_(&target_->node()),
      state_(std::move(clusters), *file_, *target_, observer) {}

aio::Task<IoResult> CopyBeforeWriteDriver::read(Range range, IoBuffers buffers) {
  return file().read(range, buffers);
}

aio::Task<IoResult> CopyBeforeWriteDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  if (state_.is_settled(range)) return file().write(range, buffers, options);
  return copy_and_write(range, buffers, options);
}

aio::Task<IoResult> CopyBeforeWriteDriver::copy_and_write(Range range, IoBuffers buffers, block::WriteOptions options) {
  CO_TRY(co_await state_.before_change(range, options_));
  co_return co_await file().write(range, buffers, options);
}

aio::Task<IoResult> CopyBeforeWriteDriver::write_zeroes(Range range, block::ZeroOptions options) {
  if (state_.is_settled(range)) return file().write_zeroes(range, options);
  return copy_and_write_zeroes(range, options);
}

aio::Task<IoResult> CopyBeforeWriteDriver::copy_and_write_zeroes(Range range, block::ZeroOptions options) {
  CO_TRY(co_await state_.before_change(range, options_));
  co_return co_await file().write_zeroes(range, options);
}

aio::Task<IoResult> CopyBeforeWriteDriver::discard(Range range) {
  if (state_.is_settled(range)) return file().discard(range);
  return copy_and_discard(range);
}

aio::Task<IoResult> CopyBeforeWriteDriver::copy_and_discard(Range range) {
  CO_TRY(co_await state_.before_change(range, options_));
  co_return co_await file().discard(range);
}

aio::Task<IoResult> CopyBeforeWriteDriver::flush() {
  return file().flush();
}

aio::Task<IoResult> CopyBeforeWriteDriver::extents(Range range, block::Extents& extents) {
  return file().extents(range, extents);
}

aio::Task<IoResult> CopyBeforeWriteDriver::prefetch(Range range) {
  return file().prefetch(range);
}

IoResult CopyBeforeWriteDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers,
                                         block::InlineHints& hints) {
  return file().try_read(reactor, range, buffers, hints);
}

IoResult CopyBeforeWriteDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers,
                                          block::InlineHints& hints) {
  if (!state_.is_settled(range)) return fail(EAGAIN);
  return file().try_write(reactor, range, buffers, hints);
}

IoResult CopyBeforeWriteDriver::try_extents(aio::Reactor& reactor, Range range, block::Extents& extents) {
  return file().try_extents(reactor, range, extents);
}

std::expected<block::FileSpan, Errno> CopyBeforeWriteDriver::try_share(aio::Reactor& reactor, Range range) {
  return file().try_share(reactor, range);
}

aio::Task<IoResult> CopyBeforeWriteDriver::read_shared(Range range, IoBuffers buffers) {
  return file().read_shared(range, buffers);
}

block::Limits CopyBeforeWriteDriver::limits() const {
  return {.optimal_bytes = file().limits().optimal_bytes};
}

aio::Task<void> CopyBeforeWriteDriver::quiesce() {
  is_quiesced_ = true;
  return state_.quiesce();
}

void CopyBeforeWriteDriver::resume() {
  // The first time it has not been quiesced.
  if (std::exchange(is_quiesced_, false)) state_.resume();
}

bool CopyBeforeWriteDriver::has_parents() const {
  const block::Node* node = file_->parent().node;
  return node != nullptr && !const_cast<block::Node*>(node)->parents().empty();
}

Permissions CopyBeforeWriteDriver::child_permissions(const block::Edge& child, const Permissions& own, bool) const {
  if (&child == target_.get()) {
    return {.used = Permission::kWrite, .shared = PermissionSet::all() - Permission::kResize};
  }
  // Before it is inserted others write to the file without it. Its clusters are those of this size.
  if (!has_parents()) return {.used = {}, .shared = PermissionSet::all() - Permission::kResize};
  Permissions needed = own;
  needed.used = needed.used | Permission::kConsistentRead;
  needed.shared = needed.shared - (Permission::kWrite | Permission::kResize);
  return needed;
}

aio::Task<Result<>> CopyBeforeWriteDriver::prepare_reopen(const schema::BlockdevOptions& before,
                                                          const schema::BlockdevOptions& after, block::NodeOptions&,
                                                          block::ReopenChildren&) {
  const auto& old_options = before.as<schema::BlockdevDriver::kCopyBeforeWrite>();
  const auto& new_options = after.as<schema::BlockdevDriver::kCopyBeforeWrite>();
  if (&target() != scratch_) co_return fail(changed_option("target", false));
  // Filters below it may come and go.
  if (&block::below_filters(file()) != source_) {
    co_return fail(Error(fmt::format("Cannot make '{}' the file of a copy-before-write node", file().name()))
                       .with_hint("It does not show the bytes of which the node keeps an older state."));
  }
  if (old_options.min_cluster_size != new_options.min_cluster_size) {
    co_return fail(changed_option("min-cluster-size", !new_options.min_cluster_size));
  }
  CO_TRY(check_same_bitmap(old_options, new_options));
  CO_TRY_ASSIGN(next_options_, copy_before_write_options(new_options));
  co_return Result<>();
}

aio::Task<void> CopyBeforeWriteDriver::commit_reopen() {
  options_ = next_options_;
  co_return;
}

}  // namespace blockexport::drivers
