#include "drivers/qcow2/snapshots/table_content.h"

#include <cassert>

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

bool TableContent::has_copied_flags() const {
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    const L2Entry one = entry(i);
    if ((one.descriptor & kEntryCopied) != 0 && plain_cluster_of(geometry_, one) != UINT64_MAX) return true;
  }
  return false;
}

void TableContent::clear_copied_flags() {
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    const L2Entry one = entry(i);
    if (plain_cluster_of(geometry_, one) != UINT64_MAX) set_descriptor(i, one.descriptor & ~kEntryCopied);
  }
}

std::vector<std::uint64_t> TableContent::references() const {
  std::vector<std::uint64_t> clusters;
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    const HostClusters run = clusters_of(geometry_, entry(i));
    for (std::uint64_t k = 0; k < run.count; ++k) clusters.push_back(run.first + k);
  }
  return clusters;
}

bool TableContent::is_valid() const {
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    if (place_of(geometry_, entry(i)).kind == ClusterKind::kInvalid) return false;
  }
  return true;
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
