#include <fmt/format.h>

#include "drivers/qcow2/check/count_references.h"
#include "drivers/qcow2/check/table_pieces.h"
#include "drivers/qcow2/format/l2_entry.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kAllocatedMask = 0xffff'ffff;

bool contains_data(const Geometry& geometry, const L2Entry& entry) {
  if (geometry.extended_l2) return (entry.subclusters & kAllocatedMask) != 0;
  return (entry.descriptor & kEntryZero) == 0;
}

// The entries of one table, in order.
class EntryCount {
 public:
  EntryCount(CheckState& state, CheckedTable table) : state_(state), table_(table) {}

  Result<> add(const L2Entry& entry) {
    if ((entry.descriptor & kEntryCompressed) != 0) return add_compressed(entry);
    if ((entry.descriptor & kL2EntryReserved) != 0) {
      corrupt(fmt::format("ERROR found l2 entry with reserved bits set: {:x}", entry.descriptor));
    }
    const std::uint64_t offset = entry.descriptor & kEntryOffsetMask;
    const bool is_zero = !state_.geometry.extended_l2 && (entry.descriptor & kEntryZero) != 0;
    // Offset 0 is a place like others in a data file.
    const bool is_in_data_file = state_.geometry.data_file && (entry.descriptor & kEntryCopied) != 0 && !is_zero;
    if (offset != 0 || is_in_data_file) return add_cluster(entry, offset);
    if (state_.geometry.extended_l2 && (entry.subclusters & kAllocatedMask) != 0) {
      corrupt("ERROR: Unallocated cluster has non-zero subcluster allocation map");
    }
    return {};
  }

 private:
  void corrupt(std::string finding) { state_.corrupt(std::move(finding), table_.all); }

  Result<> add_compressed(L2Entry entry) {
    if ((entry.descriptor & kEntryCopied) != 0) {
      corrupt(
          fmt::format("ERROR: l2_entry={:x}: copied flag must never be set for compressed clusters", entry.descriptor));
    }
    if (state_.geometry.data_file) {
      corrupt(fmt::format("ERROR compressed cluster with data file, entry={:x}", entry.descriptor));
      return {};
    }
    if (entry.subclusters != 0) {
      corrupt(fmt::format("ERROR compressed cluster with non-zero subcluster allocation bitmap, entry={:x}",
                          entry.descriptor));
      return {};
    }
    state_.report.allocated_clusters += table_.active;
    state_.report.compressed_clusters += table_.active;
    // A compressed cluster always counts as fragmented.
    state_.report.fragmented_clusters += table_.active;
    const ClusterPlace place = place_of(state_.geometry, entry);
    if (place.kind == ClusterKind::kCompressed) {
      return add_region(state_, place.host_offset, place.compressed_bytes, table_.all);
    }
    corrupt(fmt::format("ERROR: l2_entry={:x}: compressed cluster outside any file", entry.descriptor));
    return {};
  }

  Result<> add_cluster(const L2Entry& entry, std::uint64_t offset) {
    const Geometry& geometry = state_.geometry;
    if ((entry.subclusters >> kSubclustersPerCluster & entry.subclusters & kAllocatedMask) != 0) {
      corrupt(fmt::format("ERROR offset={:x}: Allocated cluster has corrupted subcluster allocation bitmap", offset));
    }
    if (geometry.offset_in_cluster(offset) != 0) {
      if (contains_data(geometry, entry)) {
        corrupt(fmt::format("ERROR offset={:x}: Data cluster is not properly aligned; L2 entry corrupted.", offset));
      } else {
        corrupt(fmt::format("ERROR offset={:x}: Preallocated cluster is not properly aligned; L2 entry corrupted.",
                            offset));
        ++state_.droppable_entries;
      }
    }
    state_.report.allocated_clusters += table_.active;
    if (next_offset_ != 0 && offset != next_offset_) state_.report.fragmented_clusters += table_.active;
    next_offset_ = offset + geometry.cluster_bytes();
    if (geometry.data_file) return {};
    return add_region(state_, offset, geometry.cluster_bytes(), table_.all);
  }

  CheckState& state_;
  CheckedTable table_;
  std::uint64_t next_offset_ = 0;
};

}  // namespace

aio::Task<Result<>> count_l2_table(CheckState& state, CheckedTable table) {
  EntryCount count(state, table);
  TablePieces pieces(state.file, table.offset, state.geometry.cluster_bytes());
  const std::size_t words = state.geometry.l2_entry_bytes() / 8;
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) co_return unreadable(state, fmt::format("L2 table at {:#x}", table.offset), more.error());
    if (!*more) co_return Result<>();
    for (std::size_t i = 0; i < pieces.piece().size() / 8; i += words) {
      L2Entry entry{.descriptor = table_word(pieces.piece(), i)};
      if (words == 2) entry.subclusters = table_word(pieces.piece(), i + 1);
      if (entry.descriptor != 0 || entry.subclusters != 0) CO_TRY(count.add(entry));
    }
  }
}

}  // namespace blockexport::drivers::qcow2
