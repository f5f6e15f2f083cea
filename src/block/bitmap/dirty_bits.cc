// Proof that a search may trust the summaries. Invariant: outside of remove_granules(), a set bit of level 0 has its
// bit set in every summary above it.
//
// A marker sets the summaries from the top down, then the bit of level 0. So the invariant can only break when a
// summary bit is reset between a marker's load of it and the marker's change of level 0. A marker counts itself in
// markers_under_way_ before it loads a summary. remove_granules() resets a summary bit, then loads the count. All of
// these operations are sequentially consistent, so for each marker one of three statements is true: it finds the bit
// reset, and sets it; or it is still counted, and remove_granules() restores the bit; or it has finished, and its
// change is visible, so remove_granules() finds the word below filled when it reads it again, and restores the bit. A
// restored bit of an empty word costs a search one load.
//
// Between the reset and the restoration a summary bit may be missing. clear_steps_ is odd for that time, and a search
// that overlaps it reads level 0 instead.
#include "block/bitmap/dirty_bits.h"

#include <bit>
#include <cassert>

namespace blockexport::block {
namespace {

constexpr std::uint64_t kWordBits = 64;
constexpr std::uint64_t kAllBits = UINT64_MAX;

constexpr std::uint64_t words_for(std::uint64_t bits) {
  return bits / kWordBits + (bits % kWordBits != 0 ? 1 : 0);
}

// The bits of word number `word` that belong to bits `first` to `last` of its level.
std::uint64_t mask_of(std::uint64_t word, std::uint64_t first, std::uint64_t last) {
  std::uint64_t mask = kAllBits;
  if (word == first / kWordBits) mask &= kAllBits << (first % kWordBits);
  if (word == last / kWordBits) mask &= kAllBits >> (kWordBits - 1 - last % kWordBits);
  return mask;
}

// The number of the bit of `level` that summarises bit `bit` of level 0.
std::uint64_t at_level(std::size_t level, std::uint64_t bit) {
  return bit >> (6 * level);
}

// Sequentially consistent, as the proof above needs. They return the old word.
std::uint64_t set_in(std::uint64_t& word, std::uint64_t bits) {
  return std::atomic_ref<std::uint64_t>(word).fetch_or(bits);
}
std::uint64_t reset_in(std::uint64_t& word, std::uint64_t bits) {
  return std::atomic_ref<std::uint64_t>(word).fetch_and(~bits);
}

std::uint64_t little_endian(std::uint64_t word) {
  return std::endian::native == std::endian::little ? word : std::byteswap(word);
}

}  // namespace

bool DirtyBits::is_granularity(std::uint64_t granularity_bytes) {
  return std::has_single_bit(granularity_bytes) && granularity_bytes >= kGranularityBytesMin &&
         granularity_bytes <= kGranularityBytesMax;
}

std::expected<std::unique_ptr<DirtyBits>, Errno> DirtyBits::create(std::uint64_t size_bytes,
                                                                   std::uint32_t granularity_bytes) {
  assert(is_granularity(granularity_bytes));
  const auto shift = static_cast<unsigned>(std::countr_zero(granularity_bytes));
  std::unique_ptr<DirtyBits> result(new DirtyBits(size_bytes, shift));
  if (IoResult allocated = result->allocate(); !allocated) return fail(allocated.error());
  return result;
}

// Allocates the levels for the size, with clean bits.
IoResult DirtyBits::allocate() {
  if (granule_count() > kGranulesMax) return fail(EFBIG);
  std::uint64_t total = 0;
  level_count_ = 0;
  std::uint64_t bits = granule_count();
  do {
    assert(level_count_ < kLevelSlots);
    bits = std::max<std::uint64_t>(words_for(bits), 1);
    levels_[level_count_++].word_count = bits;
    total += bits;
  } while (bits > 1);
  auto storage = ZeroedWords::create(total);
  if (!storage) return fail(storage.error());
  storage_ = std::move(*storage);
  std::uint64_t* words = storage_.words();
  for (std::size_t level = 0; level < level_count_; level++) {
    levels_[level].words = words;
    words += levels_[level].word_count;
  }
  return {};
}

bool DirtyBits::are_set(std::uint64_t first, std::uint64_t last) const {
  for (std::uint64_t word = first / kWordBits; word <= last / kWordBits; word++) {
    const std::uint64_t mask = mask_of(word, first, last);
    if ((load(levels_[0].words[word]) & mask) != mask) return false;
  }
  return true;
}

std::uint64_t DirtyBits::set_bits(std::size_t level, std::uint64_t first, std::uint64_t last) {
  std::uint64_t added = 0;
  for (std::uint64_t word = first / kWordBits; word <= last / kWordBits; word++) {
    const std::uint64_t mask = mask_of(word, first, last);
    std::uint64_t& bits = levels_[level].words[word];
    // A write takes the cache line from all other threads, so a word that would not change is not written.
    if ((load(bits) & mask) == mask) continue;
    added += static_cast<std::uint64_t>(std::popcount(mask & ~set_in(bits, mask)));
  }
  return added;
}

void DirtyBits::mark_granules(std::uint64_t first, std::uint64_t last) {
  if (are_set(first, last)) return;
  markers_under_way_.fetch_add(1);
  for (std::size_t level = level_count_ - 1; level > 0; level--) {
    set_bits(level, at_level(level, first), at_level(level, last));
  }
  const std::uint64_t added = set_bits(0, first, last);
  dirty_granules_.fetch_add(static_cast<std::int64_t>(added), std::memory_order_relaxed);
  markers_under_way_.fetch_sub(1);
}

// Sets `bits` of one word of level 0, as mark_granules() does.
void DirtyBits::add_to_word(std::uint64_t word, std::uint64_t bits) {
  std::uint64_t& target = levels_[0].words[word];
  if ((load(target) & bits) == bits) return;
  markers_under_way_.fetch_add(1);
  const std::uint64_t granule = word * kWordBits;
  for (std::size_t level = level_count_ - 1; level > 0; level--) {
    set_bits(level, at_level(level, granule), at_level(level, granule));
  }
  const int added = std::popcount(bits & ~set_in(target, bits));
  dirty_granules_.fetch_add(added, std::memory_order_relaxed);
  markers_under_way_.fetch_sub(1);
}

// Sets the bits of `other`, which has the same granularity and no granule past the last one here.
void DirtyBits::add_words_of(const DirtyBits& other) {
  std::uint64_t words_read = 0;
  std::uint64_t granule = other.next_set(0, 0, &words_read);
  while (granule != kNone) {
    const std::uint64_t word = granule / kWordBits;
    add_to_word(word, load(other.levels_[0].words[word]));
    granule = other.next_set(0, (word + 1) * kWordBits, &words_read);
  }
}

void DirtyBits::clear(Range range) {
  if (range.empty() || range.offset >= size_bytes_) return;
  const std::uint64_t end_byte = range.offset + std::min(range.length, size_bytes_ - range.offset);
  const std::uint64_t first = granule_count(range.offset);  // a granule that begins before the range is not cleaned
  const std::uint64_t end = end_byte == size_bytes_ ? granule_count() : end_byte >> shift_;
  if (first < end) remove_granules(first, end - 1, nullptr);
}

void DirtyBits::remove_granules(std::uint64_t first, std::uint64_t last, DirtyBits* taken) {
  clear_steps_.fetch_add(1);
  std::uint64_t words_read = 0;
  std::int64_t removed = 0;
  std::uint64_t granule = next_set(0, first, &words_read);
  while (granule <= last) {  // kNone is past every granule
    const std::uint64_t word = granule / kWordBits;
    const std::uint64_t mask = mask_of(word, first, last);
    const std::uint64_t bits = reset_in(levels_[0].words[word], mask) & mask;
    removed += std::popcount(bits);
    if (taken != nullptr) taken->add_to_word(word, bits);
    granule = next_set(0, (word + 1) * kWordBits, &words_read);
  }
  dirty_granules_.fetch_sub(removed, std::memory_order_relaxed);
  for (std::size_t level = 1; level < level_count_; level++) {
    drop_empty_summaries(level, at_level(level, first), at_level(level, last));
  }
  clear_steps_.fetch_add(1);
}

// The subset of `bits`, bits of word number `word` of a summary, whose words below are not empty.
std::uint64_t DirtyBits::filled_below(std::size_t level, std::uint64_t word, std::uint64_t bits) const {
  std::uint64_t filled = 0;
  for (; bits != 0; bits &= bits - 1) {
    const std::uint64_t below = word * kWordBits + static_cast<unsigned>(std::countr_zero(bits));
    if (load(levels_[level - 1].words[below]) != 0) filled |= bits & -bits;
  }
  return filled;
}

// Resets those bits from `first` to `last` of a summary whose word below is empty.
void DirtyBits::drop_empty_summaries(std::size_t level, std::uint64_t first, std::uint64_t last) {
  std::uint64_t words_read = 0;
  std::uint64_t bit = next_set(level, first, &words_read);
  while (bit <= last) {
    const std::uint64_t word = bit / kWordBits;
    std::uint64_t& summary = levels_[level].words[word];
    const std::uint64_t bits = load(summary) & mask_of(word, first, last);
    if (const std::uint64_t empty = bits & ~filled_below(level, word, bits); empty != 0) {
      reset_in(summary, empty);
      const bool has_markers = markers_under_way_.load() != 0;
      set_in(summary, has_markers ? empty : filled_below(level, word, empty));
    }
    bit = next_set(level, (word + 1) * kWordBits, &words_read);
  }
}

std::expected<std::unique_ptr<DirtyBits>, Errno> DirtyBits::take() {
  auto taken = create(size_bytes_, granularity_bytes());
  if (taken && size_bytes_ > 0) remove_granules(0, granule_count() - 1, taken->get());
  return taken;
}

std::expected<std::unique_ptr<DirtyBits>, Errno> DirtyBits::copy() const {
  auto result = create(size_bytes_, granularity_bytes());
  if (result) (*result)->add_words_of(*this);
  return result;
}

void DirtyBits::merge(const DirtyBits& other) {
  assert(other.size_bytes_ == size_bytes_);
  if (&other == this) return;
  if (other.shift_ == shift_) return add_words_of(other);
  std::uint64_t offset = 0;
  while (std::optional<Range> run = other.next_dirty({offset, size_bytes_ - offset})) {
    mark(*run);
    offset = run->end();
  }
}

IoResult DirtyBits::resize(std::uint64_t size_bytes) {
  const std::uint64_t granules = granule_count(size_bytes);
  const std::uint64_t words = std::max<std::uint64_t>(words_for(granules), 1);
  if (words > word_count()) {
    auto larger = create(size_bytes, granularity_bytes());
    if (!larger) return fail(larger.error());
    (*larger)->add_words_of(*this);
    swap(**larger);
    return {};
  }
  if (granules < granule_count()) remove_granules(granules, granule_count() - 1, nullptr);
  // Shrinks without an allocation: the number of levels stays, so a search of the few remaining words still begins at
  // one word.
  std::uint64_t bits = granules;
  for (std::size_t level = 0; level < level_count_; level++) {
    bits = std::max<std::uint64_t>(words_for(bits), 1);
    levels_[level].word_count = bits;
  }
  size_bytes_ = size_bytes;
  return {};
}

void DirtyBits::swap(DirtyBits& other) noexcept {
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(shift_, other.shift_);
  std::swap(level_count_, other.level_count_);
  std::swap(levels_, other.levels_);
  storage_.swap(other.storage_);
  dirty_granules_.store(other.dirty_granules_.exchange(dirty_granules_.load()));
}

std::uint64_t DirtyBits::dirty_bytes() const {
  const std::int64_t granules = dirty_granules_.load(std::memory_order_relaxed);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(granules, 0)) << shift_;
}

void DirtyBits::copy_words(std::uint64_t first_word, std::span<std::uint64_t> words) const {
  assert(first_word <= word_count() && words.size() <= word_count() - first_word);
  for (std::uint64_t& word : words) word = little_endian(load(levels_[0].words[first_word++]));
}

}  // namespace blockexport::block
