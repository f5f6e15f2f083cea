// RegionIntents: for each region of an image, whether its intent is durable, and the number of changes under way.
//
// One atomic word for each region, so that a change of a region whose intent is durable costs two atomic additions. A
// region under change is never retired: enter() counts the change in the same operation that reads whether the intent
// is durable, and retire() succeeds only while the count is zero.
// Owned by a BitmapStore. Thread: enter(), hold() and leave() on any; the others on one thread at a time. Never
// allocates after create(); regions that nobody changes take no memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdint>
#include <expected>

#include "block/bitmap/zeroed_words.h"
#include "block/bitmap_store/store_format.h"
#include "block/range.h"

namespace blockexport::block {

class RegionIntents {
 public:
  // Regions from `first` to `last`, both included.
  struct Regions {
    std::uint64_t first;
    std::uint64_t last;
  };

  // `region_bytes`: a power of two. ENOMEM.
  static std::expected<RegionIntents, Errno> create(std::uint64_t region_bytes) {
    auto words = ZeroedWords::create(kRegions);
    if (!words) return fail(words.error());
    return RegionIntents(std::move(*words), static_cast<unsigned>(std::countr_zero(region_bytes)));
  }

  // The regions that the range, which is not empty, touches. The last region has no end.
  Regions regions_of(Range range) const {
    return {std::min(range.offset >> shift_, kRegions - 1), std::min((range.end() - 1) >> shift_, kRegions - 1)};
  }
  // The bytes of a region.
  Range range_of(std::uint64_t region) const {
    const std::uint64_t offset = region << shift_;
    return {offset, region == kRegions - 1 ? UINT64_MAX - offset : std::uint64_t{1} << shift_};
  }

  // Counts a change if the intents of all its regions are durable. False: it has counted nothing.
  bool enter(Regions regions) {
    for (std::uint64_t region = regions.first; region <= regions.last; region++) {
      const std::uint64_t before = word(region).fetch_add(1);
      if ((before & kDurable) == 0) {
        leave({regions.first, region});
        return false;
      }
      if ((before & kRecent) == 0) word(region).fetch_or(kRecent);
    }
    return true;
  }
  // Counts a change whose intents are not durable yet.
  void hold(Regions regions) {
    for (std::uint64_t region = regions.first; region <= regions.last; region++) word(region).fetch_add(1);
  }
  // Ends what enter() or hold() began.
  void leave(Regions regions) {
    for (std::uint64_t region = regions.first; region <= regions.last; region++) {
      [[maybe_unused]] const std::uint64_t before = word(region).fetch_sub(1);
      assert((before & kCount) != 0);
    }
  }

  bool is_durable(std::uint64_t region) const { return (word(region).load() & kDurable) != 0; }
  void set_durable(std::uint64_t region) { word(region).fetch_or(kDurable | kRecent); }

  enum class Retire : std::uint8_t {
    kIdle,  // regions that no change has entered since the last call
    kAll,   // those without a change under way
  };
  // Makes the next change of the region wait for a new intent; from now on the intent is not needed. False: it is
  // still needed.
  bool retire(std::uint64_t region, Retire which) {
    std::uint64_t value = word(region).load();
    if ((value & kCount) != 0) return false;
    if (which == Retire::kIdle && (value & kRecent) != 0) {
      word(region).fetch_and(~kRecent);
      return false;
    }
    return word(region).compare_exchange_strong(value, 0);
  }

 private:
  static constexpr std::uint64_t kDurable = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kRecent = std::uint64_t{1} << 62;  // entered since the last retire()
  static constexpr std::uint64_t kCount = kRecent - 1;

  RegionIntents(ZeroedWords words, unsigned shift) : words_(std::move(words)), shift_(shift) {}
  std::atomic_ref<std::uint64_t> word(std::uint64_t region) const {
    return std::atomic_ref<std::uint64_t>(words_.words()[region]);
  }

  ZeroedWords words_;
  unsigned shift_;
};

}  // namespace blockexport::block
