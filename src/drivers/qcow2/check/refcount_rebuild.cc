#include "drivers/qcow2/check/refcount_rebuild.h"

#include <algorithm>
#include <set>

#include "aio/task/current.h"
#include "base/byte_writer.h"
#include "drivers/qcow2/check/count_references.h"
#include "drivers/qcow2/refcounts/refcount_words.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kWordBytes = 8;
constexpr std::uint64_t kRefcountTableField = 48;  // in the header: the offset, then the number of clusters
constexpr std::size_t kRefcountTableFieldBytes = 12;

// The place of the new structures: blocks from `begin` on, then the table.
struct Plan {
  std::uint64_t begin = 0;              // number of the first cluster
  std::set<std::uint64_t> blocks = {};  // their indexes in the table
  std::uint64_t table_clusters = 1;

  std::uint64_t table() const { return begin + blocks.size(); }
  std::uint64_t end() const { return table() + table_clusters; }
};

bool has_references(const CheckState& state, std::uint64_t first, std::uint64_t end) {
  for (std::uint64_t i = state.references.next_counted(first, end); i < end; ++i) {
    if (state.references.at(i) != 0) return true;
  }
  return false;
}

aio::Task<Result<Plan>> plan_structures(CheckState& state) {
  const Geometry& geometry = state.geometry;
  const unsigned bits = geometry.refcount_block_bits();
  Plan plan{.begin = state.checked_clusters()};
  for (std::uint64_t first = 0; first < plan.begin; first += geometry.refcount_block_entries()) {
    co_await aio::next_turn();
    const std::uint64_t end = std::min(first + geometry.refcount_block_entries(), plan.begin);
    if (has_references(state, first, end)) plan.blocks.insert(first >> bits);
  }
  // The new structures need refcounts too, perhaps in further blocks.
  for (std::uint64_t end = plan.begin; end != plan.end();) {
    end = plan.end();
    for (std::uint64_t index = plan.begin >> bits; index <= (end - 1) >> bits; ++index) plan.blocks.insert(index);
    const std::uint64_t table_bytes = (*plan.blocks.rbegin() + 1) * kWordBytes;
    if (table_bytes > kRefcountTableBytesMax) co_return fail("The image is too large for a new refcount table");
    plan.table_clusters = geometry.cluster_of(geometry.round_up(table_bytes));
  }
  co_return plan;
}

std::uint64_t refcount_in(const CheckState& state, const Plan& plan, std::uint64_t cluster) {
  return cluster >= plan.begin && cluster < plan.end() ? 1 : state.references.at(cluster);
}

aio::Task<Result<>> write_blocks(CheckState& state, const Plan& plan) {
  const Geometry& geometry = state.geometry;
  std::vector<std::byte> block(static_cast<std::size_t>(geometry.cluster_bytes()));
  std::uint64_t target = plan.begin;
  for (const std::uint64_t index : plan.blocks) {
    co_await aio::next_turn();
    const std::uint64_t first = index << geometry.refcount_block_bits();
    for (std::uint64_t i = 0; i < geometry.refcount_block_entries(); ++i) {
      set_refcount_at(block, geometry.refcount_order, i, refcount_in(state, plan, first + i));
    }
    CO_TRY(co_await write_file(state.file, target << geometry.cluster_bits, block));
    ++target;
  }
  co_return Result<>();
}

aio::Task<Result<>> write_table(CheckState& state, const Plan& plan) {
  const unsigned cluster_bits = state.geometry.cluster_bits;
  std::vector<std::byte> table(static_cast<std::size_t>(plan.table_clusters << cluster_bits));
  std::uint64_t block = plan.begin;
  for (const std::uint64_t index : plan.blocks) {
    set_table_word(table, static_cast<std::size_t>(index), block << cluster_bits);
    ++block;
  }
  CO_TRY(co_await write_file(state.file, plan.table() << cluster_bits, table));
  co_return co_await flush_file(state.file);
}

}  // namespace

aio::Task<Result<>> rebuild_refcounts(CheckState& state) {
  CO_TRY(co_await count_references(state, CountedStructures::kWithoutRefcounts));
  CO_TRY_ASSIGN(const Plan plan, co_await plan_structures(state));
  CO_TRY(co_await write_blocks(state, plan));
  CO_TRY(co_await write_table(state, plan));
  state.header.refcount_table_offset = plan.table() << state.geometry.cluster_bits;
  state.header.refcount_table_clusters = static_cast<std::uint32_t>(plan.table_clusters);
  std::array<std::byte, kRefcountTableFieldBytes> field{};
  ByteWriter writer(field);
  writer.u64(state.header.refcount_table_offset);
  writer.u32(state.header.refcount_table_clusters);
  CO_TRY(co_await write_file(state.file, kRefcountTableField, field));
  co_return co_await flush_file(state.file);
}

}  // namespace blockexport::drivers::qcow2
