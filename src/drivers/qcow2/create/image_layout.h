// ImageLayout: the places of everything in a new qcow2 image, and the content of its tables.
//
// The image is, from its begin: the first cluster with the header, refcount table, refcount blocks, L1 table, L2
// tables, LUKS header, data. Each part is consecutive and begins at a cluster boundary. So the content of each cluster
// is a function of its number, and a writer needs memory for a piece only. Plain values; any thread. Source:
// docs/interop/qcow2.rst of QEMU, "Host cluster management", "L1 table, L2 table".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "drivers/qcow2/create/creation.h"
#include "drivers/qcow2/format/geometry.h"
#include "drivers/qcow2/format/header.h"

namespace blockexport::drivers::qcow2 {

// Consecutive clusters of the file.
struct ClusterRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  std::uint64_t end() const { return first + count; }
};

class ImageLayout {
 public:
  // For a checked creation, with so many bytes for a LUKS header. Fails when the refcount table would be longer than
  // its limit.
  static Result<ImageLayout> of(const Creation& creation, std::uint64_t encryption_bytes = 0);

  const Geometry& geometry() const { return geometry_; }
  std::uint64_t size_bytes() const { return size_bytes_; }
  const ClusterRange& refcount_table() const { return refcount_table_; }
  const ClusterRange& refcount_blocks() const { return refcount_blocks_; }
  const ClusterRange& l1_table() const { return l1_table_; }
  std::uint64_t l1_entries() const { return l1_entries_; }
  const ClusterRange& l2_tables() const { return l2_tables_; }
  // The LUKS header with its key slots; empty without encryption.
  const ClusterRange& encryption() const { return encryption_; }
  // Clusters of guest data in this file: none without preallocation, and none with a data file.
  const ClusterRange& data() const { return data_; }

  // The end of the tables in the file. The last one need not fill its last cluster.
  std::uint64_t tables_end() const;

  // Fills `bytes` with the content of the tables from `offset` on: at a cluster boundary behind the first cluster, and
  // at most up to the end of the cluster that has tables_end().
  void fill(std::uint64_t offset, std::span<std::byte> bytes) const;

  // Sets the fields of a header that tell places and sizes.
  void describe_in(Header& header) const;

 private:
  void fill_cluster(std::uint64_t cluster, std::span<std::byte> bytes) const;
  std::uint64_t offset_of(std::uint64_t cluster) const { return cluster << geometry_.cluster_bits; }
  void fill_table(std::span<std::byte> bytes, std::uint64_t first_entry, const ClusterRange& clusters,
                  std::uint64_t flags) const;
  void fill_refcounts(std::span<std::byte> bytes, std::uint64_t first_cluster) const;
  void fill_l2(std::span<std::byte> bytes, std::uint64_t table) const;

  Geometry geometry_;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t guest_clusters_ = 0;
  bool raw_data_file_ = false;
  ClusterRange refcount_table_;
  ClusterRange refcount_blocks_;
  ClusterRange l1_table_;
  std::uint64_t l1_entries_ = 0;
  ClusterRange l2_tables_;
  ClusterRange encryption_;
  ClusterRange data_;
};

}  // namespace blockexport::drivers::qcow2
