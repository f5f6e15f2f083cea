#include "drivers/qcow2/check/count_references.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "aio/task/current.h"
#include "drivers/qcow2/check/table_pieces.h"
#include "drivers/qcow2/format/l2_entry.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kWordBytes = 8;
constexpr std::size_t kTablesBeforeMerge = 4096;

Error memory_error(const CheckState& state) {
  return Error(fmt::format("The check would need more than {} MiB of memory to count the references to the clusters",
                           state.options.memory_bytes_max >> 20));
}

// Sorts the tables and joins those of the same offset.
void merge_tables(std::vector<CheckedTable>& tables) {
  std::ranges::sort(tables, {}, &CheckedTable::offset);
  std::size_t kept = 0;
  for (const CheckedTable& one : tables) {
    if (kept > 0 && tables[kept - 1].offset == one.offset) {
      tables[kept - 1].active += one.active;
      tables[kept - 1].all += one.all;
    } else {
      tables[kept++] = one;
    }
  }
  tables.resize(kept);
}

// Remembers the L2 tables that L1 tables refer to.
class TableList {
 public:
  explicit TableList(CheckState& state) : state_(state) { state.l2_tables.clear(); }

  Result<> add(CheckedTable table) {
    std::vector<CheckedTable>& tables = state_.l2_tables;
    tables.push_back(table);
    if (tables.size() < merge_at_) return {};
    merge_tables(tables);
    merge_at_ = std::max(kTablesBeforeMerge, 2 * tables.size());
    if (merge_at_ * sizeof(CheckedTable) > state_.options.memory_bytes_max) return fail(memory_error(state_));
    return {};
  }
  void complete() { merge_tables(state_.l2_tables); }

 private:
  CheckState& state_;
  std::size_t merge_at_ = kTablesBeforeMerge;
};

// The references of a table that is not where it should be are lost, and what they refer to seems free.
void note_table(CheckState& state, std::uint64_t offset, std::uint64_t bytes) {
  const bool is_in_file =
      offset <= INT64_MAX - bytes && offset + bytes <= state.file_clusters() * state.geometry.cluster_bytes();
  if (!is_in_file || state.geometry.offset_in_cluster(offset) != 0) state.is_incomplete = true;
}

// Counts an L1 table that `times` tables stand for, and the L2 tables in it.
aio::Task<Result<>> count_l1(CheckState& state, TableList& tables, std::uint64_t offset, std::uint64_t entries,
                             bool is_active, std::uint32_t times) {
  CO_TRY(add_region(state, offset, entries * kWordBytes, times));
  note_table(state, offset, entries * kWordBytes);
  if (offset > INT64_MAX - entries * kWordBytes) co_return Result<>();
  TablePieces pieces(state.file, offset, entries * kWordBytes);
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) co_return unreadable(state, "L1 table", more.error());
    if (!*more) co_return Result<>();
    for (std::size_t i = 0; i < pieces.piece().size() / kWordBytes; ++i) {
      const std::uint64_t entry = table_word(pieces.piece(), i);
      if (entry == 0) continue;
      if ((entry & kL1EntryReserved) != 0) {
        state.corrupt(fmt::format("ERROR found L1 entry with reserved bits set: {:x}", entry), times);
      }
      const std::uint64_t l2_offset = entry & kEntryOffsetMask;
      CO_TRY(add_region(state, l2_offset, state.geometry.cluster_bytes(), times));
      note_table(state, l2_offset, state.geometry.cluster_bytes());
      if (state.geometry.offset_in_cluster(l2_offset) != 0) {
        state.corrupt(fmt::format("ERROR l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted", l2_offset),
                      times);
      }
      CO_TRY(tables.add({.offset = l2_offset, .active = is_active ? times : 0, .all = times}));
    }
  }
}

// The L1 tables of all snapshots, each as often as snapshots name it.
aio::Task<Result<>> count_snapshots(CheckState& state, TableList& tables) {
  CO_TRY_ASSIGN(const SnapshotTable table, co_await read_snapshots(state));
  if (state.geometry.data_file && !table.snapshots.empty()) {
    state.corrupt(fmt::format("ERROR {} snapshots in image with data file", table.snapshots.size()));
  }
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint32_t> l1_tables;
  for (const Snapshot& one : table.snapshots) {
    if (state.geometry.offset_in_cluster(one.l1_offset) != 0) {
      state.corrupt(
          fmt::format("ERROR snapshot l1_offset={:#x}: L1 table is not cluster aligned; snapshot table "
                      "entry corrupted",
                      one.l1_offset));
      state.is_incomplete = true;
    } else if (one.l1_entries > kL1BytesMax / kWordBytes) {
      state.corrupt(fmt::format("ERROR snapshot l1_size={:#x}: L1 table is too large; snapshot table entry corrupted",
                                one.l1_entries));
      state.is_incomplete = true;
    } else if (one.l1_entries != 0) {
      ++l1_tables[{one.l1_offset, one.l1_entries}];
    }
  }
  std::uint64_t entries = 0;
  for (const auto& [place, times] : l1_tables) {
    entries += place.second;
    if (entries > kCheckSnapshotL1EntriesMax) {
      co_return fail(
          fmt::format("The L1 tables of the snapshots have more than {} entries, which the check does not "
                      "read",
                      kCheckSnapshotL1EntriesMax));
    }
    CO_TRY(co_await count_l1(state, tables, place.first, place.second, false, times));
  }
  co_return add_region(state, state.header.snapshots_offset, table.table_bytes);
}

// A block of refcounts that the refcount table names.
Result<> count_refcount_block(CheckState& state, std::uint64_t index, std::uint64_t entry) {
  const std::uint64_t offset = entry & ~kRefcountEntryReserved;
  const std::uint64_t cluster = state.geometry.cluster_of(offset);
  if ((entry & kRefcountEntryReserved) != 0) {
    state.corrupt(fmt::format("ERROR refcount table entry {} has reserved bits set", index));
    state.needs_rebuild = true;
    return {};
  }
  if (state.geometry.offset_in_cluster(offset) != 0) {
    state.corrupt(fmt::format("ERROR refcount block {} is not cluster aligned; refcount table entry corrupted", index));
    state.needs_rebuild = true;
    return {};
  }
  if (cluster >= state.checked_clusters()) {
    state.corrupt(fmt::format("ERROR refcount block {} is outside image", index));
    state.needs_rebuild = true;
    return {};
  }
  if (offset == 0) return {};
  TRY(add_region(state, offset, state.geometry.cluster_bytes()));
  if (state.references.at(cluster) != 1) {
    state.corrupt(fmt::format("ERROR refcount block {} refcount={}", index, state.references.at(cluster)));
    state.needs_rebuild = true;
  }
  return {};
}

aio::Task<Result<>> count_refcount_structures(CheckState& state) {
  const std::uint64_t bytes = state.header.refcount_table_clusters * state.geometry.cluster_bytes();
  CO_TRY(add_region(state, state.header.refcount_table_offset, bytes));
  state.refcount_table.assign(static_cast<std::size_t>(bytes / kWordBytes), 0);
  TablePieces pieces(state.file, state.header.refcount_table_offset, bytes);
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) {
      state.needs_rebuild = true;
      co_return unreadable(state, "refcount table", more.error());
    }
    if (!*more) co_return Result<>();
    for (std::size_t i = 0; i < pieces.piece().size() / kWordBytes; ++i) {
      const std::uint64_t entry = table_word(pieces.piece(), i);
      state.refcount_table[pieces.first_word() + i] = entry;
      if (entry != 0) CO_TRY(count_refcount_block(state, pieces.first_word() + i, entry));
    }
  }
}

}  // namespace

Result<> unreadable(CheckState& state, std::string_view place, Errno error) {
  if (error == Errno(ECANCELED)) return fail(Error::system("The check of the image was ended", error));
  state.unreadable(fmt::format("ERROR: cannot read the {}: {}", place, errno_text(error)));
  return {};
}

Result<> add_region(CheckState& state, std::uint64_t offset, std::uint64_t bytes, std::uint64_t times) {
  if (bytes == 0) return {};
  const std::uint64_t file_bytes = state.file.size_bytes();
  // The last cluster of an image may be incomplete.
  if (offset > INT64_MAX - bytes || offset + bytes >= file_bytes + state.geometry.cluster_bytes()) {
    state.corrupt(fmt::format("ERROR: counting reference for region exceeding the end of the file by one cluster or "
                              "more: offset {:#x} size {:#x}",
                              offset, bytes),
                  times);
    return {};
  }
  const std::uint64_t last = state.geometry.cluster_of(offset + bytes - 1);
  for (std::uint64_t cluster = state.geometry.cluster_of(offset); cluster <= last; ++cluster) {
    const auto left = state.references.add(cluster, times);
    if (!left) return fail(memory_error(state));
    if (*left == 0) continue;
    state.corrupt(fmt::format("ERROR: overflow cluster offset={:#x}", cluster << state.geometry.cluster_bits), *left);
  }
  return {};
}

aio::Task<Result<>> count_references(CheckState& state, CountedStructures structures) {
  state.references.clear();
  state.unreadable_blocks.clear();
  state.droppable_entries = 0;
  CO_TRY(add_region(state, 0, state.geometry.cluster_bytes()));
  TableList tables(state);
  CO_TRY(co_await count_l1(state, tables, state.header.l1_offset, state.header.l1_entries, true, 1));
  CO_TRY(co_await count_snapshots(state, tables));
  tables.complete();
  for (const CheckedTable& table : state.l2_tables) CO_TRY(co_await count_l2_table(state, table));
  if (const HeaderExtension* encryption = state.extensions.find(kExtensionEncryption); encryption != nullptr) {
    CO_TRY(add_region(state, table_word(encryption->data, 0), table_word(encryption->data, 1)));
  }
  CO_TRY(co_await count_bitmaps(state));
  if (structures == CountedStructures::kWithoutRefcounts) co_return Result<>();
  co_return co_await count_refcount_structures(state);
}

}  // namespace blockexport::drivers::qcow2
