// Qcow2Driver: the extents of the disk, with those of the backing nodes below it.
#include <algorithm>

#include "aio/task/current.h"
#include "block/extent_list.h"
#include "drivers/qcow2/qcow2_driver.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::Extent;
using block::ExtentList;
using block::Extents;
using block::Range;

// The extent of a run that the image itself decides on.
Extent extent_of(const GuestRun& run) {
  const bool zero = run.kind == ClusterKind::kZero;
  return {.length = run.length, .data = !zero, .zero = zero};
}

}  // namespace

// Extents refer to no host cluster, so they need no pin but that of the L2 tables.
aio::Task<IoResult> Qcow2Driver::extents(Range range, Extents& extents) {
  const ClusterPins::Pin pin = pins_.pin(co_await aio::current_reactor());
  ExtentList list(extents);
  std::uint64_t done = 0;
  unsigned lookups = 0;
  while (done < range.length) {
    if (++lookups % kLookupsPerTurnMax == 0) co_await aio::next_turn();
    const Range rest{range.offset + done, range.length - done};
    const std::expected<GuestRun, Errno> run = co_await find(rest);
    if (!run && done == 0) co_return fail(run.error());
    // The next query reports the error.
    if (!run) break;
    if (run->kind != ClusterKind::kUnallocated) {
      if (!list.add(extent_of(*run))) break;
      done += run->length;
      continue;
    }
    const std::uint64_t backed = backed_bytes({rest.offset, run->length});
    if (backed == 0) {
      if (!list.add(block::unbacked(run->length, backing_ != nullptr))) break;
      done += run->length;
      continue;
    }
    Extents below;
    const IoResult found = co_await backing_->node().extents({rest.offset, backed}, below);
    if (!found && done == 0) co_return found;
    const std::uint64_t added = found ? list.add_deeper(below, backed) : 0;
    if (added == 0) break;
    done += added;
  }
  co_return IoResult();
}

IoResult Qcow2Driver::try_extents(aio::Reactor& reactor, Range range, Extents& extents) {
  ExtentList list(extents);
  std::uint64_t done = 0;
  for (unsigned lookups = 0; done < range.length && lookups < kLookupsPerTurnMax; lookups++) {
    const Range rest{range.offset + done, range.length - done};
    const std::expected<GuestRun, Errno> run = try_run(*tables_, rest, RunPurpose::kRead);
    if (!run) break;
    if (run->kind != ClusterKind::kUnallocated) {
      if (!list.add(extent_of(*run))) break;
      done += run->length;
      continue;
    }
    const std::uint64_t backed = backed_bytes({rest.offset, run->length});
    if (backed == 0) {
      if (!list.add(block::unbacked(run->length, backing_ != nullptr))) break;
      done += run->length;
      continue;
    }
    Extents below;
    if (!backing_->node().try_extents(reactor, {rest.offset, backed}, below)) break;
    const std::uint64_t added = list.add_deeper(below, backed);
    if (added == 0) break;
    done += added;
  }
  if (done == 0) return fail(EAGAIN);
  return {};
}

block::DataPlace Qcow2Driver::reserved_place(std::uint64_t offset, block::DataPlace place) const {
  const Geometry& geometry = tables_->geometry();
  const std::uint64_t begin = offset;
  const std::uint64_t end = offset + place.length;
  while (offset < end) {
    const std::expected<L2Entry, Errno> entry = tables_->try_entry(geometry.cluster_of(offset));
    if (!entry) break;
    const ClusterPlace cluster = place_of(geometry, *entry);
    // The first cluster of a data file is not told: the reference takes offset 0 for none, unless there are
    // subclusters.
    const bool is_told = cluster.has_host_cluster && (cluster.host_offset != 0 || geometry.extended_l2);
    const std::uint64_t host_offset = cluster.host_offset + geometry.offset_in_cluster(offset);
    if (offset == begin && is_told) {
      place.node = &data().node();
      place.offset = host_offset;
    } else if (is_told != (place.node != nullptr)) {
      break;
    } else if (is_told && host_offset != place.offset + (offset - begin)) {
      break;
    }
    offset = geometry.round_down(offset) + geometry.cluster_bytes();
  }
  if (offset > begin) place.length = std::min(end, offset) - begin;
  return place;
}

aio::Task<std::expected<block::DataPlace, Errno>> Qcow2Driver::locate(Range range) {
  const ClusterPins::Pin pin = pins_.pin(co_await aio::current_reactor());
  CO_TRY_ASSIGN(const GuestRun run, co_await find(range));
  block::DataPlace place{.length = run.length};
  switch (run.kind) {
    case ClusterKind::kInvalid:
      break;
    case ClusterKind::kUnallocated:
      // Only subclusters of a cluster may be unallocated in a host cluster.
      if (tables_->geometry().extended_l2) place = reserved_place(range.offset, place);
      break;
    case ClusterKind::kZero:
      place.kind = block::DataPlaceKind::kZero;
      place = reserved_place(range.offset, place);
      break;
    case ClusterKind::kCompressed:
      place.kind = block::DataPlaceKind::kCompressed;
      break;
    case ClusterKind::kData:
      place.kind = block::DataPlaceKind::kData;
      // The bytes there are not those of the disk if they are encrypted.
      if (encryption_ != nullptr) break;
      place.node = &data().node();
      place.offset = run.host_offset;
      break;
  }
  co_return place;
}

}  // namespace blockexport::drivers::qcow2
