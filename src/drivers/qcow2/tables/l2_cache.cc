#include "drivers/qcow2/tables/l2_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

namespace blockexport::drivers::qcow2 {
namespace {

// A lookup gives up after this many changes of its place; the caller then takes the lock.
constexpr int kLookupsMax = 4;
// The kernel takes whole pages back. Where its pages are larger, it refuses smaller slices, which keep their memory.
constexpr std::size_t kPageBytes = 4096;

std::uint64_t swapped(std::uint64_t value) {
  if constexpr (std::endian::native == std::endian::little) return std::byteswap(value);
  return value;
}

std::size_t sets_for(std::uint64_t cache_bytes, std::uint64_t slice_bytes) {
  const std::uint64_t set_bytes = slice_bytes * L2Cache::kWays;
  return static_cast<std::size_t>(std::max<std::uint64_t>(1, (cache_bytes + set_bytes - 1) / set_bytes));
}

}  // namespace

L2Cache::L2Cache(const Geometry& geometry, std::uint64_t slice_bytes, std::uint64_t cache_bytes)
    : slice_bytes_(slice_bytes),
      entries_per_slice_(slice_bytes / geometry.l2_entry_bytes()),
      slice_bits_(static_cast<unsigned>(std::countr_zero(entries_per_slice_))),
      slices_per_table_(geometry.cluster_bytes() / slice_bytes),
      extended_(geometry.extended_l2),
      sets_(sets_for(cache_bytes, slice_bytes)) {
  assert(std::has_single_bit(slice_bytes) && slice_bytes >= kSliceBytesMin);
  assert(slice_bytes <= geometry.cluster_bytes());
}

L2Cache::~L2Cache() {
  for (Set& set : sets_) {
    for (Place& place : set.places) std::free(place.words.load(std::memory_order_relaxed));
  }
}

// In pages of its own, if it has the size of any.
L2Cache::Word* L2Cache::make_words() const {
  static_assert(std::is_trivially_destructible_v<Word>);
  void* const memory = std::aligned_alloc(std::min<std::size_t>(kPageBytes, slice_bytes_), slice_bytes_);
  if (memory == nullptr) return nullptr;
  auto* const words = static_cast<Word*>(memory);
  std::uninitialized_value_construct_n(words, words_per_slice());
  return words;
}

std::optional<L2Entry> L2Cache::find(std::uint64_t guest_cluster) const {
  const std::uint64_t slice = slice_of(guest_cluster);
  for (const Place& place : set_of(slice).places) {
    if (place.slice.load(std::memory_order_acquire) != slice) continue;
    const std::optional<L2Entry> entry = read_entry(place, slice, index_in_slice(guest_cluster));
    if (entry && !place.referenced.load(std::memory_order_relaxed)) {
      place.referenced.store(true, std::memory_order_relaxed);
    }
    return entry;
  }
  return std::nullopt;
}

std::optional<L2Entry> L2Cache::read_entry(const Place& place, std::uint64_t slice, std::uint64_t index) const {
  for (int i = 0; i < kLookupsMax; ++i) {
    const std::uint32_t before = place.sequence.load(std::memory_order_acquire);
    if ((before & 1) != 0) continue;
    if (place.slice.load(std::memory_order_relaxed) != slice) return std::nullopt;
    const Word* const words = place.words.load(std::memory_order_relaxed);
    // Acquire, so that the look at the counter below comes after these.
    L2Entry entry;
    if (extended_) {
      entry.descriptor = words[2 * index].load(std::memory_order_acquire);
      entry.subclusters = words[2 * index + 1].load(std::memory_order_acquire);
    } else {
      entry.descriptor = words[index].load(std::memory_order_acquire);
    }
    if (place.sequence.load(std::memory_order_relaxed) == before) return entry;
  }
  return std::nullopt;
}

bool L2Cache::holds(std::uint64_t slice) const {
  return place_of_slice(slice) != nullptr;
}

const L2Cache::Place* L2Cache::place_of_slice(std::uint64_t slice) const {
  for (const Place& place : set_of(slice).places) {
    if (place.slice.load(std::memory_order_acquire) == slice) return &place;
  }
  return nullptr;
}

L2Cache::Place* L2Cache::place_of_slice(std::uint64_t slice) {
  return const_cast<Place*>(std::as_const(*this).place_of_slice(slice));
}

// A free place, else a clean one that was not referenced since eviction last looked at it.
L2Cache::Place& L2Cache::take_place(Set& set) {
  for (Place& place : set.places) {
    if (place.slice.load(std::memory_order_relaxed) == kNoSlice) return place;
  }
  Place* clean = nullptr;
  for (std::size_t looked_at = 0; looked_at < kWays; ++looked_at) {
    Place& place = set.places[set.hand];
    set.hand = static_cast<std::uint8_t>((set.hand + 1) % kWays);
    if (place.dirty) continue;
    clean = &place;
    if (!place.referenced.exchange(false, std::memory_order_relaxed)) break;
  }
  assert(clean != nullptr);  // at most kDirtyWaysMax are dirty
  return *clean;
}

IoResult L2Cache::insert(std::uint64_t slice, std::span<const std::byte> bytes) {
  assert(bytes.size() == slice_bytes_);
  if (holds(slice)) return {};
  Place& place = take_place(set_of(slice));
  Word* words = place.words.load(std::memory_order_relaxed);
  if (words == nullptr) {
    words = make_words();
    if (words == nullptr) return fail(ENOMEM);
    place.words.store(words, std::memory_order_relaxed);
  }
  place.sequence.fetch_add(1, std::memory_order_acq_rel);
  place.slice.store(kNoSlice, std::memory_order_relaxed);
  for (std::uint64_t i = 0; i < words_per_slice(); ++i) {
    std::uint64_t value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    // Release, so that a lookup that sees it also sees that the counter has changed.
    words[i].store(swapped(value), std::memory_order_release);
  }
  place.slice.store(slice, std::memory_order_release);
  place.referenced.store(true, std::memory_order_relaxed);
  place.sequence.fetch_add(1, std::memory_order_release);
  return {};
}

bool L2Cache::may_change(std::uint64_t slice) const {
  const Place* const place = place_of_slice(slice);
  if (place == nullptr || place->dirty) return place != nullptr;
  return std::ranges::count(set_of(slice).places, true, &Place::dirty) < static_cast<std::ptrdiff_t>(kDirtyWaysMax);
}

void L2Cache::set(std::uint64_t guest_cluster, const L2Entry& entry) {
  const std::uint64_t slice = slice_of(guest_cluster);
  assert(may_change(slice));
  Place* const place = place_of_slice(slice);
  Word* const words = place->words.load(std::memory_order_relaxed);
  const std::uint64_t index = index_in_slice(guest_cluster);
  if (extended_) {
    // Both words change together.
    place->sequence.fetch_add(1, std::memory_order_acq_rel);
    words[2 * index].store(entry.descriptor, std::memory_order_release);
    words[2 * index + 1].store(entry.subclusters, std::memory_order_release);
    place->sequence.fetch_add(1, std::memory_order_release);
  } else {
    words[index].store(entry.descriptor, std::memory_order_release);
  }
  place->changed = true;
  if (!std::exchange(place->dirty, true)) dirty_.push_back(slice);
}

std::vector<std::uint64_t> L2Cache::begin_write() {
  std::ranges::sort(dirty_);
  for (const std::uint64_t slice : dirty_) place_of_slice(slice)->changed = false;
  return dirty_;
}

void L2Cache::encode(std::uint64_t slice, std::span<std::byte> bytes) const {
  assert(bytes.size() == slice_bytes_);
  const Place* const place = place_of_slice(slice);
  assert(place != nullptr);
  const Word* const words = place->words.load(std::memory_order_relaxed);
  for (std::uint64_t i = 0; i < words_per_slice(); ++i) {
    const std::uint64_t value = swapped(words[i].load(std::memory_order_relaxed));
    std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
  }
}

void L2Cache::end_write() {
  const auto is_written = [this](std::uint64_t slice) {
    Place* const place = place_of_slice(slice);
    place->dirty = place->changed;
    return !place->dirty;
  };
  std::erase_if(dirty_, is_written);
}

void L2Cache::drop_unused(std::size_t first, std::size_t count) {
  const std::size_t end = std::min(sets_.size(), first + count);
  for (std::size_t i = first; i < end; ++i) {
    for (Place& place : sets_[i].places) {
      if (place.dirty || place.slice.load(std::memory_order_relaxed) == kNoSlice) continue;
      if (!place.referenced.exchange(false, std::memory_order_relaxed)) drop(place);
    }
  }
}

void L2Cache::replace_table(std::uint64_t l1_index, std::span<const std::byte> table) {
  assert(table.size() == slices_per_table_ * slice_bytes_);
  for (std::uint64_t slice = 0; slice < slices_per_table_; ++slice) {
    Place* const place = place_of_slice(l1_index * slices_per_table_ + slice);
    if (place == nullptr) continue;
    assert(!place->dirty);
    const std::span<const std::byte> bytes = table.subspan(slice * slice_bytes_, slice_bytes_);
    Word* const words = place->words.load(std::memory_order_relaxed);
    // Both words of an extended entry change together.
    if (extended_) place->sequence.fetch_add(1, std::memory_order_acq_rel);
    for (std::uint64_t i = 0; i < words_per_slice(); ++i) {
      std::uint64_t value;
      std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
      words[i].store(swapped(value), std::memory_order_release);
    }
    if (extended_) place->sequence.fetch_add(1, std::memory_order_release);
  }
}

// A lookup that has found the place before reads old words or zeros, and sees then that the counter has changed.
void L2Cache::drop(Place& place) {
  place.sequence.fetch_add(1, std::memory_order_acq_rel);
  place.slice.store(kNoSlice, std::memory_order_relaxed);
  if (slice_bytes_ >= kPageBytes) {
    (void)madvise(place.words.load(std::memory_order_relaxed), slice_bytes_, MADV_DONTNEED);
  }
  place.sequence.fetch_add(1, std::memory_order_release);
}

}  // namespace blockexport::drivers::qcow2
