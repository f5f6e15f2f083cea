#include "drivers/qcow2/check/refcount_comparison.h"

#include <fmt/format.h>

#include <algorithm>

#include "aio/task/current.h"
#include "drivers/qcow2/check/count_references.h"
#include "drivers/qcow2/refcounts/refcount_words.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kBlocksPerTurn = 1024;

// The clusters whose refcounts one block has.
struct BlockRange {
  std::uint64_t first = 0;
  std::uint64_t end = 0;
  std::uint64_t offset = 0;  // of the block; 0: there is none
};

BlockRange range_of(const CheckState& state, std::uint64_t index) {
  const std::uint64_t entries = state.geometry.refcount_block_entries();
  BlockRange range{.first = index * entries, .end = std::min((index + 1) * entries, state.checked_clusters())};
  if (index < state.refcount_table.size()) range.offset = state.refcount_table[index] & ~kRefcountEntryReserved;
  return range;
}

// Reports differences of one cluster. `refcount`: what the image says.
Result<> compare_cluster(CheckState& state, std::uint64_t cluster, std::uint64_t refcount, bool has_block,
                         std::uint64_t& used_end) {
  const std::uint64_t references = state.references.at(cluster);
  if (refcount != 0 || references != 0) used_end = cluster + 1;
  if (refcount == 1) {
    if (!state.refcount_ones.add(cluster, 1)) return fail("The check would need more memory than it may have");
  }
  if (refcount < references) {
    state.corrupt(fmt::format("ERROR cluster {} refcount={} reference={}", cluster, refcount, references));
    if (!has_block) state.needs_rebuild = true;
  } else if (refcount > references) {
    state.leak(fmt::format("Leaked cluster {} refcount={} reference={}", cluster, refcount, references));
  }
  return {};
}

Result<> compare_without_block(CheckState& state, const BlockRange& range, std::uint64_t& used_end) {
  for (std::uint64_t cluster = state.references.next_counted(range.first, range.end); cluster < range.end; ++cluster) {
    TRY(compare_cluster(state, cluster, 0, false, used_end));
  }
  return {};
}

aio::Task<Result<>> compare_with_block(CheckState& state, std::uint64_t index, const BlockRange& range,
                                       std::vector<std::byte>& block, std::uint64_t& used_end) {
  const bool is_possible = state.geometry.offset_in_cluster(range.offset) == 0 && range.offset < block::kNodeBytesMax;
  IoResult read = fail(EIO);
  if (is_possible) read = co_await read_file(state.file, range.offset, block);
  if (!read) {
    if (read.error() == Errno(ECANCELED)) co_return unreadable(state, "refcount block", read.error());
    const bool was_incomplete = state.is_incomplete;
    state.unreadable(fmt::format("Can't get the refcounts of {} clusters from cluster {}: {}", range.end - range.first,
                                 range.first, errno_text(read.error())),
                     range.end - range.first);
    // A block that cannot exist is replaced; one that cannot be read now stays.
    if (!is_possible) state.is_incomplete = was_incomplete;
    state.needs_rebuild = true;
    state.unreadable_blocks.push_back(index);
    co_return Result<>();
  }
  for (std::uint64_t cluster = range.first; cluster < range.end; ++cluster) {
    const std::uint64_t refcount = refcount_at(block, state.geometry.refcount_order, cluster - range.first);
    if (refcount == 0 && state.references.at(cluster) == 0) continue;
    CO_TRY(compare_cluster(state, cluster, refcount, true, used_end));
    if ((cluster & (kCheckPieceBytes - 1)) == 0) co_await aio::next_turn();
  }
  co_return Result<>();
}

// Writes one block with corrected refcounts, if any is wrong.
aio::Task<Result<>> correct_block(CheckState& state, const BlockRange& range, CheckRepair repair,
                                  std::vector<std::byte>& block) {
  const unsigned order = state.geometry.refcount_order;
  const IoResult read = co_await read_file(state.file, range.offset, block);
  if (!read) co_return fail(Error::system("Cannot read a refcount block during the repair", read.error()));
  bool is_changed = false;
  for (std::uint64_t cluster = range.first; cluster < range.end; ++cluster) {
    const std::uint64_t refcount = refcount_at(block, order, cluster - range.first);
    const std::uint64_t references = state.references.at(cluster);
    if (refcount == references || (refcount < references && repair != CheckRepair::kAll)) continue;
    set_refcount_at(block, order, cluster - range.first, references);
    is_changed = true;
  }
  if (!is_changed) co_return Result<>();
  co_return co_await write_file(state.file, range.offset, block);
}

std::uint64_t blocks_of(const CheckState& state) {
  const std::uint64_t entries = state.geometry.refcount_block_entries();
  return (state.checked_clusters() + entries - 1) / entries;
}

}  // namespace

aio::Task<Result<>> compare_refcounts(CheckState& state) {
  state.refcount_ones.clear();
  std::vector<std::byte> block(static_cast<std::size_t>(state.geometry.cluster_bytes()));
  const std::uint64_t blocks = blocks_of(state);
  std::uint64_t used_end = 1;  // the header
  for (std::uint64_t index = 0; index < blocks; ++index) {
    const BlockRange range = range_of(state, index);
    if (range.offset != 0) {
      co_await aio::next_turn();
      CO_TRY(co_await compare_with_block(state, index, range, block, used_end));
    } else {
      if (index % kBlocksPerTurn == 0 || state.references.next_counted(range.first, range.end) != range.end) {
        co_await aio::next_turn();
      }
      CO_TRY(compare_without_block(state, range, used_end));
    }
  }
  state.report.image_end_offset = used_end << state.geometry.cluster_bits;
  co_return Result<>();
}

aio::Task<Result<>> correct_refcounts(CheckState& state, CheckRepair repair) {
  std::vector<std::byte> block(static_cast<std::size_t>(state.geometry.cluster_bytes()));
  const std::uint64_t blocks = std::min<std::uint64_t>(blocks_of(state), state.refcount_table.size());
  for (std::uint64_t index = 0; index < blocks; ++index) {
    const BlockRange range = range_of(state, index);
    if (range.offset == 0) continue;
    co_await aio::next_turn();
    CO_TRY(co_await correct_block(state, range, repair, block));
  }
  co_return co_await flush_file(state.file);
}

}  // namespace blockexport::drivers::qcow2
