// Changes of single fields of a qcow2 image's header, each of which is in one sector: it is written whole or not at
// all.
//
// Thread: any, inside the gate of an edge above. Source: docs/interop/qcow2.rst of QEMU, "Header".
#pragma once

#include <cstdint>

#include "aio/task/task.h"
#include "block/node.h"

namespace blockexport::drivers::qcow2 {

// Version 3 only. Durable when they return.
aio::Task<IoResult> write_incompatible_features(block::Node& file, std::uint64_t features);
aio::Task<IoResult> write_autoclear_features(block::Node& file, std::uint64_t features);

struct DiskFields {
  std::uint64_t disk_bytes = 0;
  std::uint32_t encryption_method = 0;
  std::uint32_t l1_entries = 0;
  std::uint64_t l1_offset = 0;
};
aio::Task<IoResult> write_disk_fields(block::Node& file, const DiskFields& fields);

struct RefcountTableFields {
  std::uint64_t offset = 0;
  std::uint32_t clusters = 0;
};
// Not durable when it returns.
aio::Task<IoResult> write_refcount_table_fields(block::Node& file, RefcountTableFields fields);

// All at once: both roots of the tables.
struct RootFields {
  std::uint32_t l1_entries = 0;
  std::uint64_t l1_offset = 0;
  RefcountTableFields refcount_table = {};
};
// Not durable when it returns.
aio::Task<IoResult> write_root_fields(block::Node& file, RootFields fields);

struct SnapshotFields {
  std::uint32_t snapshots = 0;
  std::uint64_t offset = 0;
};
aio::Task<IoResult> write_snapshot_fields(block::Node& file, SnapshotFields fields);

}  // namespace blockexport::drivers::qcow2
