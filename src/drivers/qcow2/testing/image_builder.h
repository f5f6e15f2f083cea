// ImageBuilder: makes qcow2 images in memory for tests, sound ones and ones with chosen faults.
//
// It knows the guest's bytes that the image must show, so that a test compares with disk(). The builder is simple where
// a writer is clever: each cluster gets a new place, and the refcounts are written once, by build().
// Thread: the test's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "drivers/qcow2/format/bitmap_directory.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"
#include "drivers/qcow2/format/l2_entry.h"
#include "drivers/qcow2/format/snapshot_table.h"

namespace blockexport::drivers::qcow2 {

struct ImageShape {
  std::uint32_t version = 3;
  unsigned cluster_bits = 16;
  std::uint64_t size_bytes = 1u << 20;
  unsigned refcount_order = 4;
  bool extended_l2 = false;
  CompressionType compression_type = CompressionType::kZlib;
  bool data_file = false;  // the guest's data are in data_file(), at their own offsets
  bool raw_data_file = false;
  std::string backing_name = {};
  std::string backing_format = {};
};

class ImageBuilder {
 public:
  explicit ImageBuilder(ImageShape shape);

  const Geometry& geometry() const { return geometry_; }
  // May be changed before build(). Places of tables are set by build() unless a test has set them.
  Header& header() { return header_; }
  HeaderExtensions& extensions() { return extensions_; }

  // --- one guest cluster each ---
  void data(std::uint64_t guest_cluster, std::byte fill);
  void data(std::uint64_t guest_cluster, std::span<const std::byte> bytes);
  // Reads as zeros; `reserved`: it keeps a host cluster, full of 0xee.
  void zero(std::uint64_t guest_cluster, bool reserved = false);
  void compressed(std::uint64_t guest_cluster, std::span<const std::byte> bytes);
  // For extended L2 entries: subclusters whose bit is set in `allocated` are full of `fill`; `zero`: read as zeros.
  void subclusters(std::uint64_t guest_cluster, std::uint32_t allocated, std::uint32_t zero, std::byte fill);
  // Any entry, for faults; disk() does not know what it shows.
  void set_entry(std::uint64_t guest_cluster, const L2Entry& entry);
  L2Entry entry(std::uint64_t guest_cluster);
  // Makes the L2 table exist.
  std::uint64_t table_offset(std::uint64_t l1_index);
  void set_l1_entry(std::uint64_t l1_index, std::uint64_t entry);

  // The clusters of now, which are shared from now on: later changes of guest clusters get new ones.
  void add_snapshot(std::string id, std::string name);
  // A bitmap with all bits equal, of granularity 64 KiB.
  void add_bitmap(std::string name, bool all_ones);

  // A new host cluster with refcount 1, full of zeros. Its offset.
  std::uint64_t allocate();
  std::span<std::byte> cluster_at(std::uint64_t host_offset);

  // The content of the file.
  std::vector<std::byte> build();
  // The content of the data file.
  const std::vector<std::byte>& data_file() const { return data_file_; }
  // The guest's bytes; those that the image does not contain are taken from `backing`, or are zeros.
  std::vector<std::byte> disk(std::span<const std::byte> backing = {}) const;

 private:
  std::uint64_t allocate_many(std::uint64_t clusters);
  void write_u64(std::uint64_t host_offset, std::uint64_t value);
  std::uint64_t read_u64(std::uint64_t host_offset) const;
  std::uint64_t entry_offset(std::uint64_t guest_cluster);
  std::span<std::byte> place_data(std::uint64_t guest_cluster, std::uint64_t& descriptor);
  void show(std::uint64_t offset, std::span<const std::byte> bytes);
  void share_tables();
  void write_refcounts();

  ImageShape shape_;
  Geometry geometry_;
  Header header_;
  HeaderExtensions extensions_;
  std::vector<std::byte> file_;
  std::vector<std::uint64_t> refcounts_;  // of each cluster of file_
  std::vector<std::byte> data_file_;
  std::vector<Snapshot> snapshots_;
  std::vector<StoredBitmap> bitmaps_;
  std::uint64_t compressed_end_ = 0;  // where the next compressed cluster begins; 0: in a new host cluster
  std::vector<std::byte> shown_;
  std::vector<bool> is_shown_;  // for each byte of the disk: the image contains it
};

// A raw deflate stream or a zstd frame with these bytes.
std::vector<std::byte> compress_cluster(CompressionType type, std::span<const std::byte> bytes);

}  // namespace blockexport::drivers::qcow2
