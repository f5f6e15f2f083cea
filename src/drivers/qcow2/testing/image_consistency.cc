#include "drivers/qcow2/testing/image_consistency.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/byte_reader.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/l2_entry.h"
#include "drivers/qcow2/refcounts/refcount_words.h"

namespace blockexport::drivers::qcow2 {
namespace {

class Walk {
 public:
  Walk(std::span<const std::byte> image, const Header& header)
      : image_(image), header_(header), geometry_(header.geometry()) {}

  Consistency run() {
    refer(0, 1);
    refer(header_.refcount_table_offset >> geometry_.cluster_bits, header_.refcount_table_clusters);
    const std::uint64_t l1_bytes = std::uint64_t{header_.l1_entries} * 8;
    refer(header_.l1_offset >> geometry_.cluster_bits,
          (l1_bytes + geometry_.cluster_bytes() - 1) >> geometry_.cluster_bits);
    walk_refcount_table();
    for (std::uint64_t i = 0; i < header_.l1_entries; ++i) walk_l1_entry(word(header_.l1_offset + 8 * i));
    compare();
    return std::move(result_);
  }

 private:
  static constexpr std::size_t kCorruptionsMax = 5;

  void corrupt(std::string text) {
    if (result_.corruptions.size() < kCorruptionsMax) result_.corruptions.push_back(std::move(text));
  }
  std::uint64_t word(std::uint64_t offset) const {
    if (offset + 8 > image_.size()) return 0;
    return ByteReader(image_.subspan(offset, 8)).u64();
  }
  void refer(std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) ++references_[first + i];
  }

  void walk_refcount_table() {
    const std::uint64_t entries =
        (std::uint64_t{header_.refcount_table_clusters} << geometry_.cluster_bits) / sizeof(std::uint64_t);
    for (std::uint64_t i = 0; i < entries; ++i) {
      const std::uint64_t offset = word(header_.refcount_table_offset + 8 * i);
      blocks_.push_back(offset);
      if (offset == 0) continue;
      if (geometry_.offset_in_cluster(offset) != 0) corrupt(fmt::format("refcount block at {:#x}", offset));
      refer(geometry_.cluster_of(offset), 1);
    }
  }
  void walk_l1_entry(std::uint64_t entry) {
    const std::uint64_t table = entry & kEntryOffsetMask;
    if (table == 0) return;
    if ((entry & kEntryCopied) == 0) corrupt(fmt::format("L2 table at {:#x} without COPIED", table));
    if (geometry_.offset_in_cluster(table) != 0) corrupt(fmt::format("L2 table at {:#x}", table));
    refer(geometry_.cluster_of(table), 1);
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
      const std::uint64_t at = table + i * geometry_.l2_entry_bytes();
      walk_l2_entry({word(at), geometry_.extended_l2 ? word(at + 8) : 0});
    }
  }
  void walk_l2_entry(const L2Entry& entry) {
    const ClusterPlace place = place_of(geometry_, entry);
    for (unsigned s = 0; s < (geometry_.extended_l2 ? kSubclustersPerCluster : 1); ++s) {
      if (subcluster_kind(geometry_, entry, s) == ClusterKind::kInvalid) {
        corrupt(fmt::format("L2 entry {:#x} {:#x}", entry.descriptor, entry.subclusters));
      }
    }
    if (place.has_host_cluster && !geometry_.data_file) {
      if (!place.copied) corrupt(fmt::format("cluster at {:#x} without COPIED", place.host_offset));
      refer(geometry_.cluster_of(place.host_offset), 1);
    } else if (place.kind == ClusterKind::kCompressed) {
      const std::uint64_t first = geometry_.cluster_of(place.host_offset);
      refer(first, geometry_.cluster_of(place.host_offset + place.compressed_bytes - 1) - first + 1);
    }
  }

  std::uint64_t refcount(std::uint64_t cluster) const {
    const std::uint64_t number = cluster >> geometry_.refcount_block_bits();
    if (number >= blocks_.size() || blocks_[number] == 0) return 0;
    if (blocks_[number] + geometry_.cluster_bytes() > image_.size()) return 0;
    const auto block = image_.subspan(blocks_[number], geometry_.cluster_bytes());
    return refcount_at(block, geometry_.refcount_order, cluster & (geometry_.refcount_block_entries() - 1));
  }
  void compare() {
    for (const auto& [cluster, references] : references_) {
      const std::uint64_t count = refcount(cluster);
      if (count < references) {
        corrupt(fmt::format("cluster {} has refcount {} and {} references", cluster, count, references));
      }
    }
    const std::uint64_t clusters = blocks_.size() << geometry_.refcount_block_bits();
    for (std::uint64_t cluster = 0; cluster < clusters; ++cluster) {
      const std::uint64_t number = cluster >> geometry_.refcount_block_bits();
      if (blocks_[number] == 0) {
        cluster = ((number + 1) << geometry_.refcount_block_bits()) - 1;
        continue;
      }
      const auto found = references_.find(cluster);
      if (refcount(cluster) > (found == references_.end() ? 0 : found->second)) ++result_.leaks;
    }
  }

  std::span<const std::byte> image_;
  Header header_;
  Geometry geometry_;
  std::map<std::uint64_t, std::uint64_t> references_;
  std::vector<std::uint64_t> blocks_;
  Consistency result_;
};

}  // namespace

Consistency check_consistency(std::span<const std::byte> image) {
  const Result<Header> header = parse_header(image, HeaderUse::kReadWrite);
  if (!header) return {.corruptions = {header.error().message()}};
  return Walk(image, *header).run();
}

}  // namespace blockexport::drivers::qcow2
