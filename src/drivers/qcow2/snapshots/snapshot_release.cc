#include "drivers/qcow2/snapshots/snapshot_release.h"

#include <algorithm>
#include <vector>

#include "aio/task/current.h"
#include "base/error.h"
#include "drivers/qcow2/file/table_turns.h"
#include "drivers/qcow2/snapshots/table_exchange.h"

namespace blockexport::drivers::qcow2 {
namespace {

using block::RangeLock;

aio::Task<IoResult> release_step(ImageParts& parts, std::span<const TableRelease::Table> tables) {
  const Geometry& geometry = parts.geometry();
  const unsigned table_bits = geometry.cluster_bits + geometry.l2_bits();
  const std::uint64_t first = tables.front().index;
  const std::uint64_t last = tables.back().index;
  RangeLock::Hold hold(parts.changes, co_await aio::current_reactor(),
                       {first << table_bits, (last - first + 1) << table_bits}, RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  // The entries of these tables are in the image afterwards.
  CO_TRY(co_await parts.metadata.commit());
  while (!tables.empty()) {
    TableRelease work(parts, tables);
    CO_TRY(co_await parts.metadata.commit_with(work));
    tables = tables.subspan(work.done());
  }
  co_return IoResult();
}

// Returns true if a damaged table refers to metadata of the image as if they were data.
bool has_metadata(ImageParts& parts, std::span<const std::uint64_t> clusters) {
  const std::lock_guard lock(parts.tables.mutex());
  return std::ranges::any_of(clusters, [&](std::uint64_t one) { return parts.allocator.metadata().contains(one, 1); });
}

}  // namespace

aio::Task<IoResult> release_snapshot(ImageParts& parts, std::span<const std::uint64_t> l1, std::uint64_t step_bytes) {
  const std::uint64_t at_once = std::max<std::uint64_t>(1, step_bytes >> parts.geometry().cluster_bits);
  std::vector<TableRelease::Table> tables;
  for (std::uint64_t i = 0; i < l1.size(); ++i) {
    if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
    if (l1[i] != 0) tables.push_back({.index = i, .offset = l1[i]});
    if (tables.empty()) continue;
    if (tables.size() < at_once && i + 1 < l1.size() && i - tables.front().index < at_once) continue;
    CO_TRY(co_await release_step(parts, tables));
    tables.clear();
    co_await aio::next_turn();
  }
  co_return IoResult();
}

aio::Task<IoResult> release_former_disk(ImageParts& parts, std::span<const std::uint64_t> l1) {
  for (std::uint64_t i = 0; i < l1.size(); ++i) {
    if (i % kTableEntriesPerTurn == 0) co_await aio::next_turn();
    if (l1[i] == 0) continue;
    CO_TRY_ASSIGN(const TableContent table, co_await read_table(parts.file.node(), parts.geometry(), l1[i]));
    TableReferences found = co_await find_references(table);
    std::vector<std::uint64_t>& references = found.clusters;
    if (has_metadata(parts, references)) co_return fail(EIO);
    references.push_back(parts.geometry().cluster_of(l1[i]));
    CO_TRY(co_await parts.allocator.decrease(references));
    if (parts.metadata.should_commit()) CO_TRY(co_await parts.metadata.commit());
    co_await aio::next_turn();
  }
  co_return co_await parts.metadata.commit();
}

}  // namespace blockexport::drivers::qcow2
