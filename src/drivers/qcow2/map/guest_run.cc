#include "drivers/qcow2/map/guest_run.h"

#include <algorithm>

#include "base/error.h"

namespace blockexport::drivers::qcow2 {
namespace {

// The part of the run that one entry has, from `offset` to the end of the cluster at most.
std::expected<GuestRun, Errno> run_of_entry(const Geometry& geometry, const L2Entry& entry, std::uint64_t offset) {
  const ClusterPlace place = place_of(geometry, entry);
  GuestRun run;
  run.kind = place.kind;
  run.length = geometry.cluster_bytes();
  if (geometry.extended_l2) {
    const unsigned subcluster = geometry.subcluster_of(offset);
    run.kind = subcluster_kind(geometry, entry, subcluster);
    run.length = (std::uint64_t{subcluster} + subcluster_run(geometry, entry, subcluster))
                 << geometry.subcluster_bits();
  }
  if (run.kind == ClusterKind::kInvalid) return fail(EIO);
  run.length -= geometry.offset_in_cluster(offset);
  if (run.kind == ClusterKind::kCompressed) {
    run.host_offset = place.host_offset;
    run.compressed_bytes = place.compressed_bytes;
  } else if (run.kind == ClusterKind::kData) {
    run.host_offset = place.host_offset + geometry.offset_in_cluster(offset);
    run.overwritable = place.copied;
  }
  return run;
}

bool continues(const GuestRun& run, const GuestRun& next, RunPurpose purpose) {
  if (run.kind != next.kind || run.kind == ClusterKind::kCompressed) return false;
  if (run.kind != ClusterKind::kData) return true;
  if (run.host_offset + run.length != next.host_offset) return false;
  return purpose == RunPurpose::kRead || run.overwritable == next.overwritable;
}

// Guest bytes from `offset` that have no L2 table, up to the end of the table's share; 0: there is a table.
std::uint64_t bytes_without_table(const ImageTables& tables, std::uint64_t offset) {
  const Geometry& geometry = tables.geometry();
  const std::uint64_t cluster = geometry.cluster_of(offset);
  if ((tables.l1_entry(geometry.l1_index(cluster)) & kEntryOffsetMask) != 0) return 0;
  const std::uint64_t clusters_left = geometry.l2_entries() - geometry.l2_index(cluster);
  return (clusters_left << geometry.cluster_bits) - geometry.offset_in_cluster(offset);
}

std::expected<GuestRun, Errno> run_at(const ImageTables& tables, std::uint64_t offset) {
  if (const std::uint64_t length = bytes_without_table(tables, offset); length != 0) return GuestRun{.length = length};
  // Read before the entry: while a table is shared, the flags in it may be older than that. See snapshots/.
  const std::uint64_t cluster = tables.geometry().cluster_of(offset);
  const bool is_own_table = (tables.l1_entry(tables.geometry().l1_index(cluster)) & kEntryCopied) != 0;
  const std::expected<L2Entry, Errno> entry = tables.try_entry(cluster);
  if (!entry) return fail(entry.error().value());
  std::expected<GuestRun, Errno> run = run_of_entry(tables.geometry(), *entry, offset);
  if (run) run->overwritable = run->overwritable && is_own_table;
  return run;
}

}  // namespace

std::expected<GuestRun, Errno> try_run(const ImageTables& tables, block::Range range, RunPurpose purpose) {
  std::expected<GuestRun, Errno> run = run_at(tables, range.offset);
  if (!run) return run;
  for (unsigned entries = 1; run->length < range.length && entries < kRunEntriesMax; ++entries) {
    const std::expected<GuestRun, Errno> next = run_at(tables, range.offset + run->length);
    // The next lookup reports an error of what follows.
    if (!next || !continues(*run, *next, purpose)) break;
    run->length += next->length;
  }
  run->length = std::min(run->length, range.length);
  return run;
}

aio::Task<std::expected<GuestRun, Errno>> find_run(ImageTables& tables, block::Range range, RunPurpose purpose) {
  while (true) {
    const std::expected<GuestRun, Errno> run = try_run(tables, range, purpose);
    if (run || run.error() != Errno(EAGAIN)) co_return run;
    CO_TRY(co_await tables.load(tables.geometry().cluster_of(range.offset)));
  }
}

}  // namespace blockexport::drivers::qcow2
