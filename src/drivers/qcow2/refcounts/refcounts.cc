#include "drivers/qcow2/refcounts/refcounts.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

#include "base/byte_writer.h"
#include "drivers/qcow2/refcounts/refcount_words.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Obstacle = Refcounts::Obstacle;

std::unexpected<Refcounts::Blocked> blocked(Obstacle obstacle, std::uint64_t block = 0) {
  return std::unexpected(Refcounts::Blocked{obstacle, block});
}

constexpr unsigned kBitsPerWord = 64;

}  // namespace

Refcounts::Refcounts(const Geometry& geometry, std::vector<std::uint64_t> table, std::uint64_t table_offset,
                     MetadataClusters& metadata)
    : geometry_(geometry), metadata_(metadata), table_(std::move(table)), table_offset_(table_offset) {}

void Refcounts::insert_block(std::uint64_t block, std::span<const std::byte> bytes, std::size_t clean_blocks_max,
                             std::uint64_t evictions) {
  assert(bytes.size() == geometry_.cluster_bytes());
  if (blocks_.contains(block) || evictions != evictions_) return;
  evict_clean(clean_blocks_max);
  blocks_.emplace(block, Block{.bytes = {bytes.begin(), bytes.end()}, .used_at = ++uses_});
}

void Refcounts::evict_clean(std::size_t clean_blocks_max) {
  while (blocks_.size() - dirty_blocks_ >= std::max<std::size_t>(1, clean_blocks_max)) {
    auto oldest = blocks_.end();
    for (auto at = blocks_.begin(); at != blocks_.end(); ++at) {
      if (at->second.is_dirty()) continue;
      if (oldest == blocks_.end() || at->second.used_at < oldest->second.used_at) oldest = at;
    }
    if (oldest == blocks_.end()) return;
    blocks_.erase(oldest);
    ++evictions_;
  }
}

Refcounts::Answer<Refcounts::Block*> Refcounts::loaded(std::uint64_t block) {
  const auto found = blocks_.find(block);
  if (found == blocks_.end()) return blocked(Obstacle::kBlockNotLoaded, block);
  found->second.used_at = ++uses_;
  return &found->second;
}

// A block for clusters that had none. All of them are free, except for its own.
Refcounts::Block& Refcounts::make_block(std::uint64_t block, std::uint64_t own_cluster) {
  Block& made = blocks_[block];
  made.bytes.assign(geometry_.cluster_bytes(), std::byte{0});
  made.is_new = true;
  made.changed = true;
  made.dirty_end = geometry_.cluster_bytes();
  made.used_at = ++uses_;
  ++dirty_blocks_;
  table_[block] = own_cluster << geometry_.cluster_bits;
  changed_entries_.push_back(block);
  metadata_.add(own_cluster);
  return made;
}

void Refcounts::set(Block& block, std::uint64_t index, std::uint64_t value) {
  set_refcount_at(block.bytes, geometry_.refcount_order, index, value);
  const std::uint64_t begin = (index << geometry_.refcount_order) / 8;
  const std::uint64_t end = ((index + 1) << geometry_.refcount_order) / 8 + 1;
  if (!block.is_dirty()) {
    ++dirty_blocks_;
    block.dirty_begin = begin;
  }
  block.dirty_begin = std::min(block.dirty_begin, begin);
  block.dirty_end = std::max(block.dirty_end, std::min(end, geometry_.cluster_bytes()));
  block.changed = true;
}

HostClusters Refcounts::free_run(const Block& block, std::uint64_t from, std::uint64_t count_max) const {
  const auto is_free = [&](std::uint64_t cluster) {
    return refcount_at(block.bytes, geometry_.refcount_order, index_in_block(cluster)) == 0;
  };
  const std::uint64_t begin = block_of(from) << geometry_.refcount_block_bits();
  const std::uint64_t end = begin + geometry_.refcount_block_entries();
  HostClusters run{begin + next_free(block.bytes, geometry_.refcount_order, index_in_block(from)), 0};
  from = run.first;
  while (run.count < count_max && from + run.count < end && is_free(from + run.count)) ++run.count;
  return run;
}

// Most blocks of a large image are full, and need not be read again for each cluster that is freed before them.
std::uint64_t Refcounts::past_full_blocks(std::uint64_t cluster) const {
  std::uint64_t block = block_of(cluster);
  while (block / kBitsPerWord < full_blocks_.size()) {
    const unsigned bit = block % kBitsPerWord;
    const auto full = static_cast<unsigned>(std::countr_one(full_blocks_[block / kBitsPerWord] >> bit));
    block += full;
    if (full < kBitsPerWord - bit) break;
  }
  return block == block_of(cluster) ? cluster : block << geometry_.refcount_block_bits();
}

void Refcounts::note_full(std::uint64_t block) {
  if (block / kBitsPerWord >= full_blocks_.size()) full_blocks_.resize(block / kBitsPerWord + 1);
  full_blocks_[block / kBitsPerWord] |= std::uint64_t{1} << block % kBitsPerWord;
}

void Refcounts::note_free(std::uint64_t block) {
  if (block / kBitsPerWord >= full_blocks_.size()) return;
  full_blocks_[block / kBitsPerWord] &= ~(std::uint64_t{1} << block % kBitsPerWord);
}

Refcounts::Answer<Refcounts::Block*> Refcounts::block_for(std::uint64_t cluster) {
  const std::uint64_t block = block_of(cluster);
  if (block >= table_.size()) return table_full();
  if (table_[block] != 0) return loaded(block);
  const std::uint64_t first = block << geometry_.refcount_block_bits();
  if (metadata_.contains(first, 1)) return blocked(Obstacle::kCorrupt);
  if (!is_reachable(first + geometry_.refcount_block_entries())) return blocked(Obstacle::kTableTooLarge);
  Block& made = make_block(block, first);
  set(made, 0, 1);
  return &made;
}

Refcounts::Answer<HostClusters> Refcounts::allocate(std::uint64_t count_max) {
  while (true) {
    cursor_ = past_full_blocks(cursor_);
    const Answer<Block*> block = block_for(cursor_);
    if (!block) return std::unexpected(block.error());
    const HostClusters run = free_run(**block, cursor_, count_max);
    if (run.count == 0) {
      note_full(block_of(cursor_));
      cursor_ = (block_of(cursor_) + 1) << geometry_.refcount_block_bits();
      continue;
    }
    if (metadata_.contains(run.first, run.count)) return blocked(Obstacle::kCorrupt);
    for (std::uint64_t i = 0; i < run.count; ++i) set(**block, index_in_block(run.first + i), 1);
    cursor_ = run.first + run.count;
    return run;
  }
}

Refcounts::Answer<HostClusters> Refcounts::allocate_exactly(std::uint64_t count) {
  if (count == 1) return allocate(1);
  // A block's first cluster may be the block's own.
  if (count >= geometry_.refcount_block_entries()) return allocate_behind(count);
  // A search may pass more blocks than stay in memory.
  std::uint64_t cursor = search_.count == count ? std::max(cursor_, search_.first) : cursor_;
  search_ = {};
  while (true) {
    cursor = past_full_blocks(cursor);
    const Answer<Block*> block = block_for(cursor);
    if (!block) {
      search_ = {.first = cursor, .count = count};
      return std::unexpected(block.error());
    }
    const HostClusters run = free_run(**block, cursor, count);
    if (run.count == count) {
      if (metadata_.contains(run.first, run.count)) return blocked(Obstacle::kCorrupt);
      for (std::uint64_t i = 0; i < run.count; ++i) set(**block, index_in_block(run.first + i), 1);
      return run;
    }
    cursor = run.count == 0 ? (block_of(cursor) + 1) << geometry_.refcount_block_bits() : run.first + run.count;
  }
}

std::uint64_t Refcounts::blocks_behind(std::uint64_t first_block, std::uint64_t count) const {
  const std::uint64_t first = first_block << geometry_.refcount_block_bits();
  std::uint64_t blocks = 1;
  while (block_of(first + count + blocks - 1) - first_block + 1 > blocks) ++blocks;
  return blocks;
}

void Refcounts::take_behind(std::uint64_t first_block, std::uint64_t count) {
  const std::uint64_t first = first_block << geometry_.refcount_block_bits();
  const std::uint64_t blocks = blocks_behind(first_block, count);
  for (std::uint64_t i = 0; i < blocks; ++i) make_block(first_block + i, first + count + i);
  for (std::uint64_t cluster = first; cluster < first + count + blocks; ++cluster) {
    set(blocks_.find(block_of(cluster))->second, index_in_block(cluster), 1);
  }
}

Refcounts::Answer<HostClusters> Refcounts::allocate_behind(std::uint64_t count) {
  std::uint64_t first_block = table_.size();
  while (first_block > 0 && table_[first_block - 1] == 0) --first_block;
  const std::uint64_t blocks = blocks_behind(first_block, count);
  const HostClusters taken{first_block << geometry_.refcount_block_bits(), count};
  if (first_block + blocks > table_.size()) return table_full();
  if (!is_reachable(taken.first + count + blocks)) return blocked(Obstacle::kTableTooLarge);
  if (metadata_.contains(taken.first, count + blocks)) return blocked(Obstacle::kCorrupt);
  take_behind(first_block, count);
  return taken;
}

// A cluster whose refcount has the largest value, or is not in memory any more, is left as it is.
bool Refcounts::can_share() {
  if (shared_end_ == 0) return false;
  const std::uint64_t cluster = geometry_.cluster_of(shared_end_);
  if (!blocks_.contains(block_of(cluster))) return false;
  const Answer<std::uint64_t> count = refcount(cluster);
  return count && *count != 0 && *count < geometry_.refcount_max();
}

Refcounts::Answer<Refcounts::SharedBytes> Refcounts::allocate_bytes(std::uint64_t bytes) {
  assert(bytes != 0 && bytes < geometry_.cluster_bytes());
  if (!can_share()) shared_end_ = 0;
  SharedBytes taken{.offset = shared_end_};
  const std::uint64_t shared = geometry_.cluster_of(shared_end_);
  const std::uint64_t free_bytes =
      shared_end_ == 0 ? 0 : geometry_.cluster_bytes() - geometry_.offset_in_cluster(shared_end_);
  if (free_bytes < bytes) {
    const Answer<HostClusters> made = allocate(1);
    if (!made) return std::unexpected(made.error());
    taken.made = *made;
    const bool follows = shared_end_ != 0 && made->first == shared + 1;
    if (!follows) taken.offset = made->first << geometry_.cluster_bits;
  }
  if (geometry_.cluster_of(taken.offset) == shared && shared_end_ != 0) {
    const Answer<std::uint64_t> counted = increase(shared);
    assert(counted);
    (void)counted;
  }
  shared_end_ = taken.offset + bytes;
  if (geometry_.offset_in_cluster(shared_end_) == 0) shared_end_ = 0;
  return taken;
}

void Refcounts::close_shared(HostClusters clusters) {
  const std::uint64_t cluster = geometry_.cluster_of(shared_end_);
  if (cluster >= clusters.first && cluster - clusters.first < clusters.count) shared_end_ = 0;
}

Refcounts::Answer<std::uint64_t> Refcounts::refcount(std::uint64_t cluster) {
  const std::uint64_t block_number = block_of(cluster);
  if (block_offset(block_number) == 0) return 0;
  const Answer<Block*> block = loaded(block_number);
  if (!block) return std::unexpected(block.error());
  return refcount_at((*block)->bytes, geometry_.refcount_order, index_in_block(cluster));
}

Refcounts::Answer<std::uint64_t> Refcounts::decrease(std::uint64_t cluster) {
  const Answer<Block*> block = counting_block(cluster);
  if (!block) return std::unexpected(block.error());
  return change(**block, cluster, Step::kDecrease);
}

Refcounts::Answer<std::uint64_t> Refcounts::increase(std::uint64_t cluster) {
  const Answer<Block*> block = counting_block(cluster);
  if (!block) return std::unexpected(block.error());
  return change(**block, cluster, Step::kIncrease);
}

Refcounts::Answer<std::size_t> Refcounts::count(std::span<const std::uint64_t> clusters, Step step) {
  assert(!clusters.empty());
  const Answer<Block*> block = counting_block(clusters.front());
  if (!block) return std::unexpected(block.error());
  const std::uint64_t number = block_of(clusters.front());
  std::size_t done = 0;
  while (done < clusters.size() && block_of(clusters[done]) == number) {
    const Answer<std::uint64_t> changed = change(**block, clusters[done], step);
    if (!changed && done == 0) return std::unexpected(changed.error());
    if (!changed) break;
    ++done;
  }
  return done;
}

Refcounts::Answer<Refcounts::Block*> Refcounts::counting_block(std::uint64_t cluster) {
  // Only clusters in use are counted up or down.
  if (block_offset(block_of(cluster)) == 0) return blocked(Obstacle::kCorrupt);
  return loaded(block_of(cluster));
}

Refcounts::Answer<std::uint64_t> Refcounts::change(Block& block, std::uint64_t cluster, Step step) {
  const bool increase = step == Step::kIncrease;
  const std::uint64_t before = refcount_at(block.bytes, geometry_.refcount_order, index_in_block(cluster));
  if (before == 0) return blocked(Obstacle::kCorrupt);
  if (increase && before == geometry_.refcount_max()) return blocked(Obstacle::kOverflow);
  const std::uint64_t after = increase ? before + 1 : before - 1;
  set(block, index_in_block(cluster), after);
  if (after == 0) {
    cursor_ = std::min(cursor_, cluster);
    note_free(block_of(cluster));
    close_shared({cluster, 1});
    // It may have held a table that has moved.
    metadata_.remove(cluster);
  }
  return after;
}

Refcounts::Answer<HostClusters> Refcounts::relocate_block_of(std::uint64_t cluster) {
  const std::uint64_t number = block_of(cluster);
  // A cluster without a block has no reference.
  if (block_offset(number) == 0) return blocked(Obstacle::kCorrupt);
  const Answer<Block*> found = loaded(number);
  if (!found) return std::unexpected(found.error());
  if ((*found)->is_new) return HostClusters{};
  const Answer<HostClusters> made = allocate(1);
  if (!made) return std::unexpected(made.error());
  Block& block = blocks_.find(number)->second;
  const HostClusters old{geometry_.cluster_of(table_[number]), 1};
  table_[number] = made->first << geometry_.cluster_bits;
  changed_entries_.push_back(number);
  if (!block.is_dirty()) ++dirty_blocks_;
  block.is_new = true;
  block.changed = true;
  block.dirty_begin = 0;
  block.dirty_end = geometry_.cluster_bytes();
  metadata_.add(made->first);
  return old;
}

Refcounts::Answer<HostClusters> Refcounts::move_table() {
  if (table_moved_) return HostClusters{};
  const std::uint64_t count = geometry_.cluster_of(table_.size() * sizeof(std::uint64_t));
  const Answer<HostClusters> made = allocate_exactly(count);
  if (!made) return std::unexpected(made.error());
  const HostClusters old{geometry_.cluster_of(table_offset_), count};
  for (std::uint64_t i = 0; i < count; ++i) metadata_.add(made->first + i);
  table_offset_ = made->first << geometry_.cluster_bits;
  table_moved_ = true;
  return old;
}

Refcounts::Answer<HostClusters> Refcounts::grow_table() {
  const std::uint64_t entries_per_cluster = geometry_.cluster_bytes() / sizeof(std::uint64_t);
  const std::uint64_t first_block = table_.size();
  const std::uint64_t first = first_block << geometry_.refcount_block_bits();
  std::uint64_t table_clusters = first_block / entries_per_cluster * 2 + 1;
  while (first_block + blocks_behind(first_block, table_clusters) > table_clusters * entries_per_cluster) {
    ++table_clusters;
  }
  const std::uint64_t end = first + table_clusters + blocks_behind(first_block, table_clusters);
  if (table_clusters << geometry_.cluster_bits > kRefcountTableBytesMax || !is_reachable(end)) {
    return blocked(Obstacle::kTableTooLarge);
  }
  if (metadata_.contains(first, end - first)) return blocked(Obstacle::kCorrupt);
  const HostClusters old_table{geometry_.cluster_of(table_offset_), first_block / entries_per_cluster};
  table_.resize(table_clusters * entries_per_cluster, 0);
  take_behind(first_block, table_clusters);
  for (std::uint64_t i = 0; i < table_clusters; ++i) metadata_.add(first + i);
  table_offset_ = first << geometry_.cluster_bits;
  table_moved_ = true;
  return old_table;
}

Refcounts::Writes Refcounts::begin_write() {
  Writes writes;
  for (auto& [number, block] : blocks_) {
    if (!block.is_dirty()) continue;
    const auto begin = block.bytes.begin() + static_cast<std::ptrdiff_t>(block.dirty_begin);
    const auto end = block.bytes.begin() + static_cast<std::ptrdiff_t>(block.dirty_end);
    auto& to = block.is_new ? writes.new_blocks : writes.blocks;
    to.push_back({table_[number] + block.dirty_begin, {begin, end}});
    block.changed = false;
    block.in_writing = true;
  }
  writes.table_moved = table_moved_;
  entries_in_writing_ = changed_entries_.size();
  table_in_writing_ = table_moved_ ? table_offset_ : 0;
  if (table_moved_) {
    Write& whole = writes.moved_table.emplace_back(Write{.host_offset = table_offset_, .bytes = {}});
    whole.bytes.resize(table_.size() * sizeof(std::uint64_t));
    ByteWriter writer(whole.bytes);
    for (const std::uint64_t entry : table_) writer.u64(entry);
  } else {
    for (const std::uint64_t entry : changed_entries_) {
      Write& one = writes.table_entries.emplace_back(
          Write{.host_offset = table_offset_ + entry * sizeof(std::uint64_t), .bytes = {}});
      one.bytes.resize(sizeof(std::uint64_t));
      ByteWriter(one.bytes).u64(table_[entry]);
    }
  }
  return writes;
}

void Refcounts::end_write() {
  for (auto& [number, block] : blocks_) {
    if (!std::exchange(block.in_writing, false)) continue;
    block.is_new = false;
    if (block.changed) continue;
    block.dirty_begin = block.dirty_end = 0;
    --dirty_blocks_;
  }
  changed_entries_.erase(changed_entries_.begin(),
                         changed_entries_.begin() + static_cast<std::ptrdiff_t>(entries_in_writing_));
  entries_in_writing_ = 0;
  // It may have moved again since.
  if (table_moved_ && table_in_writing_ == table_offset_) table_moved_ = false;
}

}  // namespace blockexport::drivers::qcow2
