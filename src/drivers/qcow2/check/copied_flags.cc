#include "drivers/qcow2/check/copied_flags.h"

#include <fmt/format.h>

#include <algorithm>

#include "drivers/qcow2/check/count_references.h"
#include "drivers/qcow2/check/table_pieces.h"
#include "drivers/qcow2/format/l2_entry.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::size_t kWordBytes = 8;
constexpr std::uint64_t kAllocatedMask = 0xffff'ffff;

std::uint64_t offset_of(std::uint64_t entry) {
  return entry & kEntryOffsetMask;
}

bool has_flag(std::uint64_t entry) {
  return (entry & kEntryCopied) != 0;
}

// Of the host cluster of an L2 table or of an entry. nullopt: no block tells.
std::optional<bool> is_refcount_one(const CheckState& state, std::uint64_t offset) {
  const std::uint64_t cluster = state.geometry.cluster_of(offset);
  const std::uint64_t block = cluster >> state.geometry.refcount_block_bits();
  if (std::ranges::binary_search(state.unreadable_blocks, block)) return std::nullopt;
  return state.refcount_ones.at(cluster) == 1;
}

// True if an entry of an L2 table has a host cluster, and so a flag.
bool has_cluster(std::uint64_t descriptor) {
  return (descriptor & kEntryCompressed) == 0 && offset_of(descriptor) != 0;
}

bool is_referenced_once(const CheckState& state, std::uint64_t offset) {
  return state.references.at(state.geometry.cluster_of(offset)) == 1;
}

// Corrects one flag in a table; true: it was wrong.
bool correct(std::span<std::byte> table, std::size_t index, bool should_be_set) {
  const std::uint64_t entry = table_word(table, index);
  if (has_flag(entry) == should_be_set) return false;
  set_table_word(table, index, entry ^ kEntryCopied);
  return true;
}

// An unaligned offset of a cluster that holds no data is removed; true: it was there.
bool drop_unaligned(const Geometry& geometry, std::span<std::byte> table, std::size_t index) {
  const std::uint64_t descriptor = table_word(table, index);
  if ((descriptor & kEntryCompressed) != 0) return false;
  if (geometry.offset_in_cluster(offset_of(descriptor)) == 0) return false;
  const bool holds_data =
      geometry.extended_l2 ? (table_word(table, index + 1) & kAllocatedMask) != 0 : (descriptor & kEntryZero) == 0;
  if (holds_data) return false;
  set_table_word(table, index, geometry.extended_l2 ? 0 : kEntryZero);
  return true;
}

enum class Correction : bool { kFlags, kUnalignedClusters };

// Changes the entries of one L2 table.
aio::Task<Result<>> correct_l2_table(CheckState& state, std::uint64_t offset, Correction correction) {
  TablePieces pieces(state.file, offset, state.geometry.cluster_bytes());
  const std::size_t words = state.geometry.l2_entry_bytes() / kWordBytes;
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) co_return fail(Error::system("Cannot read an L2 table during the repair", more.error()));
    if (!*more) co_return Result<>();
    bool is_changed = false;
    for (std::size_t i = 0; i < pieces.piece().size() / kWordBytes; i += words) {
      if (correction == Correction::kUnalignedClusters) {
        is_changed |= drop_unaligned(state.geometry, pieces.piece(), i);
      } else if (const std::uint64_t entry = table_word(pieces.piece(), i); has_cluster(entry)) {
        // Clusters of a data file have no refcounts, and are never shared.
        const bool is_once = state.geometry.data_file || is_referenced_once(state, offset_of(entry));
        is_changed |= correct(pieces.piece(), i, is_once);
      }
    }
    if (is_changed) CO_TRY(co_await write_file(state.file, pieces.piece_offset(), pieces.piece()));
  }
}

// A table that nothing but L1 entries refers to.
bool is_only_a_table(const CheckState& state, const CheckedTable& table) {
  return state.geometry.offset_in_cluster(table.offset) == 0 &&
         state.references.at(state.geometry.cluster_of(table.offset)) == table.all;
}

aio::Task<Result<>> correct_l1_table(CheckState& state) {
  const std::uint64_t bytes = state.header.l1_entries * kWordBytes;
  for (std::uint64_t offset = 0; offset < bytes; offset += state.geometry.cluster_bytes()) {
    if (state.references.at(state.geometry.cluster_of(state.header.l1_offset + offset)) != 1) co_return Result<>();
  }
  TablePieces pieces(state.file, state.header.l1_offset, bytes);
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) co_return fail(Error::system("Cannot read the L1 table during the repair", more.error()));
    if (!*more) co_return Result<>();
    bool is_changed = false;
    for (std::size_t i = 0; i < pieces.piece().size() / kWordBytes; ++i) {
      const std::uint64_t offset = offset_of(table_word(pieces.piece(), i));
      if (offset != 0) is_changed |= correct(pieces.piece(), i, is_referenced_once(state, offset));
    }
    if (is_changed) CO_TRY(co_await write_file(state.file, pieces.piece_offset(), pieces.piece()));
  }
}

aio::Task<Result<>> compare_l1_flags(CheckState& state) {
  TablePieces pieces(state.file, state.header.l1_offset, state.header.l1_entries * kWordBytes);
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) co_return unreadable(state, "L1 table", more.error());
    if (!*more) co_return Result<>();
    for (std::size_t i = 0; i < pieces.piece().size() / kWordBytes; ++i) {
      const std::uint64_t entry = table_word(pieces.piece(), i);
      if (offset_of(entry) == 0) continue;
      const auto is_one = is_refcount_one(state, offset_of(entry));
      if (!is_one || *is_one == has_flag(entry)) continue;
      state.corrupt(fmt::format("ERROR OFLAG_COPIED L2 cluster: l1_index={} l1_entry={:x} refcount{}1",
                                pieces.first_word() + i, entry, *is_one ? "=" : "!="));
    }
  }
}

aio::Task<Result<>> compare_l2_flags(CheckState& state, CheckedTable table) {
  TablePieces pieces(state.file, table.offset, state.geometry.cluster_bytes());
  const std::size_t words = state.geometry.l2_entry_bytes() / kWordBytes;
  while (true) {
    const auto more = co_await pieces.next();
    if (!more) co_return unreadable(state, fmt::format("L2 table at {:#x}", table.offset), more.error());
    if (!*more) co_return Result<>();
    for (std::size_t i = 0; i < pieces.piece().size() / kWordBytes; i += words) {
      const std::uint64_t entry = table_word(pieces.piece(), i);
      if (!has_cluster(entry)) continue;
      const auto is_one = state.geometry.data_file ? true : is_refcount_one(state, offset_of(entry));
      if (!is_one || *is_one == has_flag(entry)) continue;
      state.corrupt(
          fmt::format("ERROR OFLAG_COPIED data cluster: l2_entry={:x} refcount{}1", entry, *is_one ? "=" : "!="),
          table.active);
    }
  }
}

}  // namespace

aio::Task<Result<>> compare_copied_flags(CheckState& state) {
  CO_TRY(co_await compare_l1_flags(state));
  for (const CheckedTable& table : state.l2_tables) {
    if (table.active != 0 && table.offset != 0) CO_TRY(co_await compare_l2_flags(state, table));
  }
  co_return Result<>();
}

aio::Task<Result<>> correct_copied_flags(CheckState& state) {
  CO_TRY(co_await correct_l1_table(state));
  for (const CheckedTable& table : state.l2_tables) {
    if (table.active == 0 || !is_only_a_table(state, table)) continue;
    CO_TRY(co_await correct_l2_table(state, table.offset, Correction::kFlags));
  }
  co_return co_await flush_file(state.file);
}

aio::Task<Result<>> drop_unaligned_clusters(CheckState& state) {
  for (const CheckedTable& table : state.l2_tables) {
    if (!is_only_a_table(state, table)) continue;
    CO_TRY(co_await correct_l2_table(state, table.offset, Correction::kUnalignedClusters));
  }
  co_return co_await flush_file(state.file);
}

}  // namespace blockexport::drivers::qcow2
