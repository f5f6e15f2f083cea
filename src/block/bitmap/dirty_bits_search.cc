// The searches of DirtyBits.
#include <bit>
#include <cassert>

#include "block/bitmap/dirty_bits.h"

namespace blockexport::block {
namespace {

constexpr std::uint64_t kWordBits = 64;
constexpr std::uint64_t kAllBits = UINT64_MAX;

std::uint64_t lowest_bit(std::uint64_t word) {
  return static_cast<unsigned>(std::countr_zero(word));
}

}  // namespace

std::uint64_t DirtyBits::next_set(std::size_t level, std::uint64_t from, std::uint64_t* words_read) const {
  std::size_t at = level;
  std::uint64_t bit = from;
  while (bit / kWordBits < levels_[at].word_count) {
    ++*words_read;
    const std::uint64_t bits = load(levels_[at].words[bit / kWordBits]) & (kAllBits << (bit % kWordBits));
    if (bits != 0) {
      bit = bit / kWordBits * kWordBits + lowest_bit(bits);
      if (at == level) return bit;
      // Goes down to the word of this bit. The word may be empty although the bit is set; then the search goes up
      // again.
      at--;
      bit *= kWordBits;
    } else {
      if (at + 1 == level_count_) return kNone;
      at++;
      bit = bit / kWordBits + 1;
    }
  }
  return kNone;
}

std::uint64_t DirtyBits::scan(std::uint64_t first, std::uint64_t last, bool for_dirty,
                              std::uint64_t* words_read) const {
  for (std::uint64_t word = first / kWordBits; word <= last / kWordBits; word++) {
    ++*words_read;
    std::uint64_t bits = load(levels_[0].words[word]);
    if (!for_dirty) bits = ~bits;
    if (word == first / kWordBits) bits &= kAllBits << (first % kWordBits);
    if (bits == 0) continue;
    const std::uint64_t found = word * kWordBits + lowest_bit(bits);
    return found <= last ? found : kNone;
  }
  return kNone;
}

std::uint64_t DirtyBits::next_dirty_granule(std::uint64_t first, std::uint64_t last, std::uint64_t* words_read) const {
  const std::uint64_t steps = clear_steps_.load();
  if (steps % 2 == 0) {
    const std::uint64_t found = next_set(0, first, words_read);
    if (clear_steps_.load() == steps) return found <= last ? found : kNone;
  }
  return scan(first, last, true, words_read);
}

std::uint64_t DirtyBits::find_dirty(Range range, std::uint64_t* words_read) const {
  // Bytes past the size are dirty.
  if (range.empty() || range.offset >= size_bytes_) return range.offset;
  std::uint64_t ignored = 0;
  const std::uint64_t end = range.offset + std::min(range.length, size_bytes_ - range.offset);
  const std::uint64_t granule =
      next_dirty_granule(range.offset >> shift_, (end - 1) >> shift_, words_read != nullptr ? words_read : &ignored);
  return granule == kNone ? end : std::max(range.offset, granule << shift_);
}

std::uint64_t DirtyBits::find_clean(Range range, std::uint64_t* words_read) const {
  if (range.empty() || range.offset >= size_bytes_) return range.end();
  std::uint64_t ignored = 0;
  const std::uint64_t end = range.offset + std::min(range.length, size_bytes_ - range.offset);
  const std::uint64_t granule =
      scan(range.offset >> shift_, (end - 1) >> shift_, false, words_read != nullptr ? words_read : &ignored);
  return granule == kNone ? range.end() : std::max(range.offset, granule << shift_);
}

std::uint64_t DirtyBits::end_of_dirty(Range range, std::uint64_t* words_read) const {
  // Another thread may have cleaned the first granule since; the result is still that of the search.
  const std::uint64_t granule_end = ((range.offset >> shift_) + 1) << shift_;
  return std::max(find_clean(range, words_read), std::min(range.end(), granule_end));
}

std::optional<Range> DirtyBits::next_dirty(Range range, std::uint64_t* words_read) const {
  const std::uint64_t start = find_dirty(range, words_read);
  if (start >= range.end()) return std::nullopt;
  return Range{start, end_of_dirty({start, range.end() - start}, words_read) - start};
}

DirtyBits::Run DirtyBits::run_at(Range range, std::uint64_t* words_read) const {
  assert(!range.empty());
  const std::uint64_t start = find_dirty(range, words_read);
  if (start > range.offset) return {start - range.offset, false};
  return {end_of_dirty(range, words_read) - range.offset, true};
}

}  // namespace blockexport::block
