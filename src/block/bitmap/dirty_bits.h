// DirtyBits: the dirty bits of a disk, one for each granule, with a tree of summaries for fast searches.
//
// Level 0 has a bit per granule; a set bit of a higher level means that the word below it may have bits. A search for
// the next dirty granule skips the words that the summaries mark as empty, so a clean disk costs a few loads.
// Thread: mark() and all const functions on any thread, at any time, without locks; clear(), take() and merge()
// concurrently with these, but on one thread at a time; resize() and swap() only while no other thread uses the object.
// Every search that begins after a mark() has returned finds its granules, even during a clear() of others.
// Owned by a DirtyBitmap or by an operation that tracks blocks. See dirty_bits.cc for the proof of the summaries.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>

#include "base/errno.h"
#include "block/bitmap/zeroed_words.h"
#include "block/range.h"

namespace blockexport::block {

class DirtyBits {
 public:
  static constexpr std::uint32_t kGranularityBytesMin = 512;
  static constexpr std::uint32_t kGranularityBytesMax = std::uint32_t{1} << 31;
  static constexpr std::uint64_t kGranulesMax = std::uint64_t{1} << 41;

  // True if it is a power of two from kGranularityBytesMin to kGranularityBytesMax.
  static bool is_granularity(std::uint64_t granularity_bytes);

  // All bits are clean. `granularity_bytes` passes is_granularity(). EFBIG: the size has more than kGranulesMax
  // granules; ENOMEM: there is no memory for the words.
  static std::expected<std::unique_ptr<DirtyBits>, Errno> create(std::uint64_t size_bytes,
                                                                 std::uint32_t granularity_bytes);
  DirtyBits(const DirtyBits&) = delete;
  DirtyBits& operator=(const DirtyBits&) = delete;

  std::uint64_t size_bytes() const { return size_bytes_; }
  std::uint32_t granularity_bytes() const { return std::uint32_t{1} << shift_; }

  // Marks every granule that the range touches. Bytes past the size are ignored. A granule that is dirty already costs
  // one load.
  void mark(Range range) {
    if (range.empty() || range.offset >= size_bytes_) return;
    const std::uint64_t last_byte = range.offset + std::min(range.length, size_bytes_ - range.offset) - 1;
    const std::uint64_t first = range.offset >> shift_;
    const std::uint64_t last = last_byte >> shift_;
    if (first == last && is_set(first)) return;
    mark_granules(first, last);
  }

  // --- reading; any range is allowed; bytes past the size read as dirty, because nothing is known about them ---

  // The first dirty byte of the range, or the range's end. `words_read`, if given, grows by the number of words that
  // the search loaded.
  std::uint64_t find_dirty(Range range, std::uint64_t* words_read = nullptr) const;
  // The first clean byte of the range, or the range's end. It loads each word up to there.
  std::uint64_t find_clean(Range range, std::uint64_t* words_read = nullptr) const;
  // The first run of dirty bytes in the range, cut to it; nothing when all of it is clean.
  std::optional<Range> next_dirty(Range range, std::uint64_t* words_read = nullptr) const;
  // Bytes at the start of a range that are of one kind.
  struct Run {
    std::uint64_t length;
    bool is_dirty;
    friend bool operator==(Run, Run) = default;
  };
  // `range`: not empty.
  Run run_at(Range range, std::uint64_t* words_read = nullptr) const;

  // Dirty granules times the granularity, so it may exceed the size. A mark() of another thread may be missing until
  // it returns.
  std::uint64_t dirty_bytes() const;

  // Level 0, for a digest or for storage: granule g is bit g % 64 of word g / 64, and bits past the last granule
  // are 0. At least one word.
  std::uint64_t word_count() const { return levels_[0].word_count; }
  // Copies as many words as `words` has, from `first_word` on, each in little-endian byte order. The words exist.
  void copy_words(std::uint64_t first_word, std::span<std::uint64_t> words) const;

  // Size of the address space in use; pages without set bits take no memory.
  std::uint64_t allocated_bytes() const { return storage_.word_count() * sizeof(std::uint64_t); }

  // --- bulk changes ---

  // Cleans everything. A mark() under way at the same time may come before or after.
  void clear() { clear({0, size_bytes_}); }
  // Cleans the granules that lie completely in the range; the last granule of the disk ends at the size.
  void clear(Range range);
  // Cleans everything, and returns the former contents. merge() of the result undoes it. ENOMEM: nothing has changed.
  std::expected<std::unique_ptr<DirtyBits>, Errno> take();
  // ENOMEM.
  std::expected<std::unique_ptr<DirtyBits>, Errno> copy() const;
  // Marks the granules that are dirty in `other`, which has the same size and any granularity. It may be this object.
  void merge(const DirtyBits& other);

  // New bytes are clean, except those in a granule that was dirty. ENOMEM, EFBIG: nothing has changed; shrinking does
  // not fail.
  IoResult resize(std::uint64_t size_bytes);
  // Exchanges everything, including sizes and granularities. With copy() it can undo any change.
  void swap(DirtyBits& other) noexcept;

 private:
  // A word of level n + 1 summarises 64 words of level n; the highest level in use has one word.
  static constexpr std::size_t kLevelSlots = 7;
  static constexpr std::uint64_t kNone = UINT64_MAX;

  struct Level {
    std::uint64_t* words = nullptr;
    std::uint64_t word_count = 0;
  };

  DirtyBits(std::uint64_t size_bytes, unsigned shift) : size_bytes_(size_bytes), shift_(shift) {}

  static std::uint64_t load(std::uint64_t& word) {
    return std::atomic_ref<std::uint64_t>(word).load(std::memory_order_seq_cst);
  }
  bool is_set(std::uint64_t granule) const {
    return ((load(levels_[0].words[granule / 64]) >> (granule % 64)) & 1) != 0;
  }
  std::uint64_t granule_count() const { return granule_count(size_bytes_); }
  std::uint64_t granule_count(std::uint64_t size_bytes) const {
    return (size_bytes >> shift_) + ((size_bytes & (granularity_bytes() - 1)) != 0 ? 1 : 0);
  }

  IoResult allocate();
  void mark_granules(std::uint64_t first, std::uint64_t last);
  bool are_set(std::uint64_t first, std::uint64_t last) const;
  // Returns the number of bits that were not set before.
  std::uint64_t set_bits(std::size_t level, std::uint64_t first, std::uint64_t last);
  void add_to_word(std::uint64_t word, std::uint64_t bits);
  void add_words_of(const DirtyBits& other);

  // Cleans the granules from `first` to `last`, and adds those that were dirty to `taken`, if given.
  void remove_granules(std::uint64_t first, std::uint64_t last, DirtyBits* taken);
  std::uint64_t filled_below(std::size_t level, std::uint64_t word, std::uint64_t bits) const;
  void drop_empty_summaries(std::size_t level, std::uint64_t first, std::uint64_t last);

  // The first set bit of `level` that is not before `from`, or kNone, by the summaries above.
  std::uint64_t next_set(std::size_t level, std::uint64_t from, std::uint64_t* words_read) const;
  // The first granule from `first` to `last` that is dirty (or clean), word by word; kNone.
  std::uint64_t scan(std::uint64_t first, std::uint64_t last, bool for_dirty, std::uint64_t* words_read) const;
  std::uint64_t next_dirty_granule(std::uint64_t first, std::uint64_t last, std::uint64_t* words_read) const;
  // The end of the dirty bytes that a search has found at the start of the range.
  std::uint64_t end_of_dirty(Range range, std::uint64_t* words_read) const;

  // Changed by resize() and swap() only.
  std::uint64_t size_bytes_;
  unsigned shift_;  // log2 of the granularity in bytes
  std::size_t level_count_ = 0;
  std::array<Level, kLevelSlots> levels_;
  ZeroedWords storage_;

  // On a separate cache line, because a mark of a dirty granule only reads the members above.
  alignas(64) std::atomic<std::uint64_t> markers_under_way_ = 0;  // threads between a summary and its bit of level 0
  std::atomic<std::int64_t> dirty_granules_ = 0;  // negative while a clear() has counted a bit before its mark() has
  std::atomic<std::uint64_t> clear_steps_ = 0;    // odd while a clear() may have reset too many summary bits
};

}  // namespace blockexport::block
