// TableSharing and TableRelease: works of a commit that add the references of L2 tables to the refcounts, or take them
// away, and exchange the tables of the disk at once, so that the flags in these agree with the refcounts at every
// moment.
//
// The image has the refcounts before with the tables before, or those after with the tables after: both have new
// places, and one write of the header exchanges them (MetadataWriter::move_l1). Thread: any; see CommitWork.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "drivers/qcow2/commit/metadata_writer.h"
#include "drivers/qcow2/snapshots/table_content.h"
#include "drivers/qcow2/write/image_parts.h"

namespace blockexport::drivers::qcow2 {

// Changed refcount blocks, in bytes, from which on a step handles no further table.
inline constexpr std::uint64_t kSnapshotBlockBytesMax = 64u << 20;

// Part of both works.
class TableExchange : public CommitWork {
 protected:
  explicit TableExchange(ImageParts& parts) : parts_(parts) {}

  // Gives the refcount table and the L1 table new places.
  aio::Task<IoResult> move_roots();
  // Writes a table to a new cluster.
  aio::Task<std::expected<std::uint64_t, Errno>> write_new_table(const TableContent& table);
  void give_back(std::uint64_t cluster);
  // So many refcount blocks have changed that the other tables are left to the next step.
  bool is_full();

  ImageParts& parts_;
};

// Shares frozen L2 tables with a snapshot: the disk gets copies of them without flags, or the tables themselves if they
// have no flags. At least the first one is shared; those that are left stay frozen. An error: the tables before the one
// with the error are shared, and the others are frozen.
class TableSharing final : public TableExchange {
 public:
  TableSharing(ImageParts& parts, std::span<const std::uint64_t> indices) : TableExchange(parts), indices_(indices) {}

  aio::Task<IoResult> prepare() override;

 private:
  aio::Task<IoResult> share(std::uint64_t index);

  std::span<const std::uint64_t> indices_;
};

// Takes away the references that a former snapshot had through L2 tables. The caller keeps all other changes from the
// guest clusters of these tables, and their entries are in the image. At least the first one is handled.
class TableRelease final : public TableExchange {
 public:
  struct Table {
    std::uint64_t index = 0;
    std::uint64_t offset = 0;  // not 0
  };
  TableRelease(ImageParts& parts, std::span<const Table> tables) : TableExchange(parts), tables_(tables) {}

  aio::Task<IoResult> prepare() override;
  // Number of tables that it has handled.
  std::size_t done() const { return done_; }

 private:
  aio::Task<IoResult> release(Table table);
  // The table of the disk with the flags that its entries are to have; nullopt: they stay as they are.
  aio::Task<std::expected<std::optional<TableContent>, Errno>> with_new_flags(std::uint64_t index,
                                                                              const TableContent& released);

  // Sets them in the entries from `begin` to `end`. Returns true if one has changed.
  aio::Task<std::expected<bool, Errno>> set_new_flags(TableContent& table, const TableContent& released,
                                                      std::uint64_t begin, std::uint64_t end);

  // Returns true if no reference of a damaged table would free a cluster of the image's other metadata.
  aio::Task<bool> may_release(std::span<const std::uint64_t> references, std::uint64_t own_cluster);
  bool is_metadata(std::span<const std::uint64_t> clusters);
  bool may_release_table(std::uint64_t own_cluster);

  std::span<const Table> tables_;
  std::size_t done_ = 0;
};

}  // namespace blockexport::drivers::qcow2
