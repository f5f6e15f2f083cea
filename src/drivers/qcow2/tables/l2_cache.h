// L2Cache: the slices of L2 tables that are in memory. A lookup takes no lock.
//
// A slice is an aligned part of one L2 table, and the unit that is read from the image and written to it. The cache is
// set-associative: a slice has kWays places, by its number, so that a cache as large as the image's tables never
// evicts. A place has a sequence counter, odd while its slice is replaced; find() reads the entry between two looks at
// the counter. Memory of places is allocated at their first use and kept until the cache is destroyed, so that a
// lookup never reads freed memory; drop_unused() gives the pages behind it back to the system.
//
// Owned by ImageTables. Thread: find() and holds() on any; all others under the lock of ImageTables.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/errno.h"
#include "drivers/qcow2/format/l2_entry.h"

namespace blockexport::drivers::qcow2 {

class L2Cache {
 public:
  static constexpr std::uint64_t kSliceBytesMin = 512;
  static constexpr std::size_t kWays = 8;
  static constexpr std::size_t kDirtyWaysMax = kWays / 2;

  // `slice_bytes`: a power of two, at least kSliceBytesMin and at most a cluster. `cache_bytes` is rounded up to whole
  // sets.
  L2Cache(const Geometry& geometry, std::uint64_t slice_bytes, std::uint64_t cache_bytes);
  ~L2Cache();
  L2Cache(const L2Cache&) = delete;
  L2Cache& operator=(const L2Cache&) = delete;

  std::uint64_t slice_bytes() const { return slice_bytes_; }
  std::uint64_t entries_per_slice() const { return entries_per_slice_; }
  // Number of the slice with the entry of a guest cluster: counted over all L2 tables in guest order.
  std::uint64_t slice_of(std::uint64_t guest_cluster) const { return guest_cluster >> slice_bits_; }
  // Position of the slice in its L2 table, in bytes.
  std::uint64_t offset_in_table(std::uint64_t slice) const { return (slice & (slices_per_table_ - 1)) * slice_bytes_; }
  std::uint64_t slices_per_table() const { return slices_per_table_; }

  // The entry of a guest cluster; nullopt when its slice is not here, or is being replaced.
  std::optional<L2Entry> find(std::uint64_t guest_cluster) const;
  bool holds(std::uint64_t slice) const;

  // Puts a slice in, as it stands in the image, and evicts a clean one if need be. Does nothing when it is here
  // already. ENOMEM.
  IoResult insert(std::uint64_t slice, std::span<const std::byte> bytes);

  // True if entries of a slice that is here may change: it is dirty already, or enough places of its set are clean, so
  // that insert() always finds one. Otherwise a commit has to make them clean first.
  bool may_change(std::uint64_t slice) const;
  // Changes the entry of a guest cluster whose slice is here and may_change(). The slice is dirty then, and stays here.
  void set(std::uint64_t guest_cluster, const L2Entry& entry);

  std::uint64_t dirty_count() const { return dirty_.size(); }
  // Begins to write all dirty slices to the image. Returns them in ascending order.
  std::vector<std::uint64_t> begin_write();
  // Writes a slice that is here to `bytes`, as it stands in the image.
  void encode(std::uint64_t slice, std::span<std::byte> bytes) const;
  // The slices that begin_write() returned are in the image: those that have not changed since then are clean.
  void end_write();
  std::size_t set_count() const { return sets_.size(); }
  // Gives the slices of an L2 table that are here the entries of `table`, which is in the image in its place. They are
  // clean before and afterwards. A lookup that began earlier may see either.
  void replace_table(std::uint64_t l1_index, std::span<const std::byte> table);
  // Drops those slices of `count` sets from `first` on that are clean and were not used since the last such call or
  // eviction that looked at them. Sets past the end are left out.
  void drop_unused(std::size_t first, std::size_t count);

 private:
  using Word = std::atomic<std::uint64_t>;
  static constexpr std::uint64_t kNoSlice = UINT64_MAX;

  struct Place {
    std::atomic<std::uint32_t> sequence = 0;
    mutable std::atomic<bool> referenced = false;
    bool dirty = false;
    bool changed = false;  // since begin_write()
    std::atomic<std::uint64_t> slice = kNoSlice;
    std::atomic<Word*> words = nullptr;
  };
  struct Set {
    std::array<Place, kWays> places;
    std::uint8_t hand = 0;  // the next place that eviction looks at
  };

  const Set& set_of(std::uint64_t slice) const { return sets_[slice % sets_.size()]; }
  Set& set_of(std::uint64_t slice) { return sets_[slice % sets_.size()]; }
  const Place* place_of_slice(std::uint64_t slice) const;
  Place* place_of_slice(std::uint64_t slice);
  static Place& take_place(Set& set);
  Word* make_words() const;
  void drop(Place& place);
  std::optional<L2Entry> read_entry(const Place& place, std::uint64_t slice, std::uint64_t index) const;
  std::uint64_t words_per_slice() const { return slice_bytes_ / sizeof(std::uint64_t); }
  std::uint64_t index_in_slice(std::uint64_t guest_cluster) const { return guest_cluster & (entries_per_slice_ - 1); }

  std::uint64_t slice_bytes_;
  std::uint64_t entries_per_slice_;
  unsigned slice_bits_;
  std::uint64_t slices_per_table_;
  bool extended_;
  std::vector<Set> sets_;
  std::vector<std::uint64_t> dirty_;
};

}  // namespace blockexport::drivers::qcow2
