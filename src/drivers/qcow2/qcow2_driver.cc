#include "drivers/qcow2/qcow2_driver.h"

#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "block/debug_events.h"

namespace blockexport::drivers::qcow2 {

using block::IoBuffers;
using block::Permission;
using block::Permissions;
using block::PermissionSet;
using block::Range;

std::unique_ptr<ImageTables> Qcow2Driver::make_tables(const Geometry& geometry, std::span<const std::uint64_t> l1,
                                                      const Qcow2CacheSizes& sizes, block::Edge& file) {
  return std::make_unique<ImageTables>(
      geometry, l1, ImageTables::CacheSizes{.slice_bytes = sizes.l2_slice_bytes, .cache_bytes = sizes.l2_bytes}, file);
}

Qcow2Driver::Qcow2Driver(aio::Reactor& control, Qcow2Options options, const Qcow2CacheSizes& sizes, ImageContent image,
                         Children children, Encryption encryption, CorruptionReport corruption)
    : control_(control),
      options_(std::move(options)),
      sizes_(sizes),
      image_(std::move(image)),
      file_(std::move(children.file)),
      data_file_(std::move(children.data_file)),
      backing_(std::move(children.backing)),
      encryption_(std::move(encryption)),
      tables_(make_tables(image_.header.geometry(), image_.l1, sizes, *file_)),
      compressed_(image_.header.compression_type, image_.header.cluster_bytes()),
      corruption_(corruption),
      size_bytes_(image_.header.disk_bytes()) {
  image_.l1 = {};
}

aio::Task<IoResult> Qcow2Driver::flush() {
  block::debug_event(*file_, block::DebugEvent::kFlushToOs);
  if (writer_ != nullptr) co_return co_await writer_->flush();
  if (data_file_ != nullptr) CO_TRY(co_await data_file_->node().flush());
  block::debug_event(*file_, block::DebugEvent::kFlushToDisk);
  co_return co_await file().flush();
}

aio::Task<IoResult> Qcow2Driver::prefetch(Range range) {
  const ClusterPins::Pin pin = pins_.pin(co_await aio::current_reactor());
  unsigned lookups = 0;
  while (!range.empty()) {
    if (++lookups % kLookupsPerTurnMax == 0) co_await aio::next_turn();
    CO_TRY_ASSIGN(const GuestRun run, co_await find(range));
    if (run.kind == ClusterKind::kData) {
      const Range host{run.host_offset, run.length};
      if (host.fits(data().node().size_bytes())) CO_TRY(co_await data().node().prefetch(host));
    } else if (run.kind == ClusterKind::kUnallocated) {
      const std::uint64_t backed = backed_bytes({range.offset, run.length});
      if (backed > 0) CO_TRY(co_await backing_->node().prefetch({range.offset, backed}));
    }
    range = {range.offset + run.length, range.length - run.length};
  }
  co_return IoResult();
}

void Qcow2Driver::resume() {
  if (options_.cache_clean_seconds == 0) return;
  cleaning_.emplace(control_);
  cleaning_->spawn("drop unused tables of a qcow2 image", clean_cache_regularly());
}

aio::Task<void> Qcow2Driver::quiesce() {
  if (!cleaning_) co_return;
  cleaning_->cancel();
  co_await cleaning_->join();
  cleaning_.reset();
}

aio::Task<void> Qcow2Driver::clean_cache_regularly() {
  const std::uint64_t interval_ns = std::uint64_t{options_.cache_clean_seconds} * 1'000'000'000;
  while (co_await control_.sleep_until(control_.now_ns() + interval_ns)) {
    for (std::size_t set = 0; tables_->drop_unused_slices(set, kSetsCleanedPerTurnMax); set += kSetsCleanedPerTurnMax) {
      co_await aio::next_turn();
    }
  }
}

block::Limits Qcow2Driver::limits() const {
  const Geometry& geometry = tables_->geometry();
  return {.request_alignment = encryption_ != nullptr ? static_cast<std::uint32_t>(crypto::kSectorBytes) : 1,
          .optimal_bytes = file().limits().optimal_bytes,
          .zeroes_alignment = static_cast<std::uint32_t>(geometry.subcluster_bytes()),
          .discard_alignment = static_cast<std::uint32_t>(geometry.cluster_bytes())};
}

std::vector<block::Edge*> Qcow2Driver::children() const {
  std::vector<block::Edge*> list;
  for (block::Edge* edge : {backing_.get(), data_file_.get(), file_.get()}) {
    if (edge != nullptr) list.push_back(edge);
  }
  return list;
}

Permissions Qcow2Driver::child_permissions(const block::Edge& child, const Permissions& own, bool read_only) const {
  if (&child == backing_.get()) {
    PermissionSet shared = Permission::kConsistentRead | Permission::kWriteUnchanged;
    // Whoever copes with changes of this node copes with those of its backing node.
    if (own.shared.has(Permission::kWrite)) shared = PermissionSet::all();
    return {.used = own.used & Permission::kConsistentRead, .shared = shared};
  }
  Permissions needed{.used = own.used, .shared = own.shared | Permission::kWriteUnchanged};
  if (&child == file_.get()) {
    // The metadata must be consistent, change even if the disk does not, and belong to this node alone.
    needed.used = needed.used | Permission::kConsistentRead;
    if (!read_only) needed.used = needed.used | Permission::kWrite | Permission::kResize;
    needed.shared = needed.shared - (Permission::kWrite | Permission::kResize);
  }
  if (child.roles().has(block::ChildRole::kData)) {
    if (needed.used.has(Permission::kWrite)) needed.used = needed.used | Permission::kResize;
    needed.shared = needed.shared - Permission::kResize;
  }
  return needed;
}

}  // namespace blockexport::drivers::qcow2
