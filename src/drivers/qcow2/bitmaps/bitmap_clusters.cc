#include "drivers/qcow2/bitmaps/bitmap_clusters.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace blockexport::drivers::qcow2 {
namespace {

using block::DirtyBits;
using block::Range;

constexpr std::uint64_t kWordBytes = sizeof(std::uint64_t);
constexpr std::uint64_t kWordBits = 64;

std::uint64_t word_at(std::span<const std::byte> bytes, std::uint64_t word) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data() + word * kWordBytes, kWordBytes);
  return std::endian::native == std::endian::little ? value : std::byteswap(value);
}

// Finds runs of ones in consecutive words, and marks each as one range.
class RunMarker {
 public:
  RunMarker(DirtyBits& bits, std::uint64_t first_granule)
      : bits_(bits), shift_(granularity_bits_of(bits)), next_(first_granule) {}

  void add_word(std::uint64_t word) {
    if (word == 0 || word == UINT64_MAX) {
      add(word != 0, kWordBits);
      return;
    }
    for (std::uint64_t left = kWordBits; left > 0;) {
      const bool is_set = (word & 1) != 0;
      const auto length = static_cast<std::uint64_t>(is_set ? std::countr_one(word) : std::countr_zero(word));
      const std::uint64_t run = std::min(length, left);
      add(is_set, run);
      left -= run;
      word = run < kWordBits ? word >> run : 0;
    }
  }
  void end() { add(false, 0); }

 private:
  void add(bool is_set, std::uint64_t granules) {
    if (is_set) {
      ones_ += granules;
    } else if (ones_ > 0) {
      const Range range = range_of(next_ - ones_, ones_);
      if (!range.empty()) bits_.mark(range);
      ones_ = 0;
    }
    next_ += granules;
  }

  Range range_of(std::uint64_t first, std::uint64_t count) const {
    const std::uint64_t disk_bytes = bits_.size_bytes();
    const std::uint64_t granules = (disk_bytes >> shift_) + 1;
    if (first >= granules) return {};
    const std::uint64_t begin = first << shift_;
    if (begin >= disk_bytes) return {};
    return {begin, std::min(disk_bytes - begin, std::min(count, granules) << shift_)};
  }

  DirtyBits& bits_;
  unsigned shift_;
  std::uint64_t next_;
  std::uint64_t ones_ = 0;  // that end before next_
};

}  // namespace

std::uint64_t bitmap_bytes(std::uint64_t disk_bytes, unsigned granularity_bits) {
  const std::uint64_t mask = (std::uint64_t{1} << granularity_bits) - 1;
  const std::uint64_t granules = (disk_bytes >> granularity_bits) + ((disk_bytes & mask) != 0 ? 1 : 0);
  return (granules + kWordBits - 1) / kWordBits * kWordBytes;
}

std::uint64_t bitmap_clusters(const Geometry& geometry, std::uint64_t disk_bytes, unsigned granularity_bits) {
  return geometry.cluster_of(geometry.round_up(bitmap_bytes(disk_bytes, granularity_bits)));
}

unsigned granularity_bits_of(const DirtyBits& bits) {
  return static_cast<unsigned>(std::countr_zero(bits.granularity_bytes()));
}

Range bits_range(const Geometry& geometry, const DirtyBits& bits, std::uint64_t cluster) {
  const unsigned shift = geometry.cluster_bits + 3 + granularity_bits_of(bits);
  const std::uint64_t disk_bytes = bits.size_bytes();
  if (shift >= 64) return cluster == 0 ? Range{0, disk_bytes} : Range{};
  if (cluster > disk_bytes >> shift) return {};
  const std::uint64_t begin = cluster << shift;
  return {begin, std::min(disk_bytes - begin, std::uint64_t{1} << shift)};
}

void mark_clusters(const Geometry& geometry, DirtyBits& bits, std::uint64_t cluster, std::span<const std::byte> bytes) {
  RunMarker marker(bits, cluster << (geometry.cluster_bits + 3));
  for (std::uint64_t word = 0; word < bytes.size() / kWordBytes; ++word) marker.add_word(word_at(bytes, word));
  marker.end();
}

ClusterBits kind_of_cluster(const Geometry& geometry, const DirtyBits& bits, std::uint64_t cluster) {
  const Range range = bits_range(geometry, bits, cluster);
  if (range.empty() || bits.find_dirty(range) == range.end()) return ClusterBits::kAllZeros;
  return bits.find_clean(range) == range.end() ? ClusterBits::kAllOnes : ClusterBits::kMixed;
}

void copy_clusters(const Geometry& geometry, const DirtyBits& bits, std::uint64_t cluster, std::span<std::byte> bytes) {
  assert(reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(std::uint64_t) == 0);
  const std::span<std::uint64_t> words(reinterpret_cast<std::uint64_t*>(bytes.data()), bytes.size() / kWordBytes);
  const std::uint64_t first = cluster << (geometry.cluster_bits - 3);
  const std::uint64_t count = std::min<std::uint64_t>(words.size(), bits.word_count() - first);
  bits.copy_words(first, words.first(static_cast<std::size_t>(count)));
  std::ranges::fill(words.subspan(static_cast<std::size_t>(count)), 0);
}

}  // namespace blockexport::drivers::qcow2
