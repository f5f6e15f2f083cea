// Bits of regions in the layout of the intent area: words of 64 regions, kSectorWords of them in each sector.
//
// Used by BitmapStore for the intents in its file, and for those that it is about to write. Pure functions.
// Thread: any.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "block/bitmap_store/store_format.h"

namespace blockexport::block {

// Consecutive sectors of an area.
struct SectorRun {
  std::size_t first;
  std::size_t count;
};

inline bool has_region(std::span<const std::uint64_t> bits, std::uint64_t region) {
  return ((bits[region / 64] >> (region % 64)) & 1) != 0;
}
inline void set_region(std::span<std::uint64_t> bits, std::uint64_t region) {
  bits[region / 64] |= std::uint64_t{1} << (region % 64);
}
inline void reset_region(std::span<std::uint64_t> bits, std::uint64_t region) {
  bits[region / 64] &= ~(std::uint64_t{1} << (region % 64));
}

// Calls `use(region)` for each region that is set.
template <class Use>
void for_each_region(std::span<const std::uint64_t> bits, Use use) {
  for (std::size_t word = 0; word < bits.size(); word++) {
    for (std::uint64_t left = bits[word]; left != 0; left &= left - 1) {
      use(word * 64 + static_cast<unsigned>(std::countr_zero(left)));
    }
  }
}

// The sectors with a region that is set, as runs. Sectors of one page are in one run, with those between them: the
// kernel writes the whole page anyway.
std::vector<SectorRun> runs_of_sectors(std::span<const std::uint64_t> bits);

// Fills `bytes` with the sectors of the run, for the area of this number.
void encode_region_sectors(std::span<const std::uint64_t> bits, std::uint32_t area_id, SectorRun run,
                           std::vector<std::byte>& bytes);

// Adds the regions of sector `index` to `bits`. False: it is damaged, and all of its regions are set.
bool decode_region_sector(std::span<const std::byte, kStoreSectorBytes> sector, std::uint32_t area_id,
                          std::uint32_t index, std::span<std::uint64_t> bits);

// The host's order of a little-endian word, and the reverse.
inline std::uint64_t little_endian(std::uint64_t word) {
  return std::endian::native == std::endian::little ? word : std::byteswap(word);
}

}  // namespace blockexport::block
