#include "drivers/qcow2/snapshots/table_content.h"

#include <utility>

#include "aio/task/current.h"
#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "drivers/qcow2/file/zero_padded_read.h"
#include "drivers/qcow2/write/table_changes.h"

namespace blockexport::drivers::qcow2 {

L2Entry TableContent::entry(std::uint64_t index) const {
  ByteReader reader(std::span(bytes_).subspan(index * geometry_.l2_entry_bytes(), geometry_.l2_entry_bytes()));
  L2Entry entry{.descriptor = reader.u64()};
  if (geometry_.extended_l2) entry.subclusters = reader.u64();
  return entry;
}

void TableContent::set_descriptor(std::uint64_t index, std::uint64_t descriptor) {
  ByteWriter(std::span(bytes_).subspan(index * geometry_.l2_entry_bytes(), sizeof descriptor)).u64(descriptor);
}

std::uint64_t plain_cluster_of(const Geometry& geometry, const L2Entry& entry) {
  const ClusterPlace place = place_of(geometry, entry);
  return place.has_host_cluster ? geometry.cluster_of(place.host_offset) : UINT64_MAX;
}

aio::Task<TableReferences> find_references(const TableContent& table) {
  const Geometry& geometry = table.geometry();
  TableReferences found;
  found.clusters.reserve(table.entries() + 1);
  for (std::uint64_t i = 0; i < table.entries(); ++i) {
    if (i % kTableEntriesPerStepMax == 0) co_await aio::next_turn();
    const L2Entry entry = table.entry(i);
    const ClusterPlace place = place_of(geometry, entry);
    if (place.kind == ClusterKind::kInvalid) found.is_valid = false;
    if (place.has_host_cluster) {
      if (place.copied) found.has_copied_flags = true;
      found.clusters.push_back(geometry.cluster_of(place.host_offset));
    } else if (place.kind == ClusterKind::kCompressed) {
      const HostClusters run = clusters_of(geometry, entry);
      for (std::uint64_t k = 0; k < run.count; ++k) found.clusters.push_back(run.first + k);
    }
  }
  co_return found;
}

aio::Task<void> clear_copied_flags(TableContent& table) {
  for (std::uint64_t i = 0; i < table.entries(); ++i) {
    if (i % kTableEntriesPerStepMax == 0) co_await aio::next_turn();
    const L2Entry entry = table.entry(i);
    const bool is_copied = (entry.descriptor & kEntryCopied) != 0;
    if (!is_copied || plain_cluster_of(table.geometry(), entry) == UINT64_MAX) continue;
    table.set_descriptor(i, entry.descriptor & ~kEntryCopied);
  }
}

aio::Task<std::expected<TableContent, Errno>> read_table(block::Node& file, const Geometry& geometry,
                                                         std::uint64_t offset) {
  if (offset == 0 || geometry.offset_in_cluster(offset) != 0) co_return fail(EIO);
  std::vector<std::byte> bytes(geometry.cluster_bytes());
  const iovec vector{bytes.data(), bytes.size()};
  CO_TRY(co_await read_zero_padded(file, {offset, bytes.size()}, {&vector, 1}));
  co_return TableContent(geometry, std::move(bytes));
}

}  // namespace blockexport::drivers::qcow2
