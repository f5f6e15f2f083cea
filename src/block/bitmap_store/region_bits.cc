#include "block/bitmap_store/region_bits.h"

#include <algorithm>
#include <array>

namespace blockexport::block {

std::vector<SectorRun> runs_of_sectors(std::span<const std::uint64_t> bits) {
  constexpr std::size_t kSectorsPerPage = kStorePageBytes / kStoreSectorBytes;
  std::vector<SectorRun> runs;
  for (std::size_t sector = 0; sector * kSectorWords < bits.size(); sector++) {
    const auto words = bits.subspan(sector * kSectorWords, kSectorWords);
    if (std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; })) continue;
    const bool extends = !runs.empty() && (runs.back().first + runs.back().count == sector ||
                                           runs.back().first / kSectorsPerPage == sector / kSectorsPerPage);
    if (extends) {
      runs.back().count = sector - runs.back().first + 1;
    } else {
      runs.push_back({.first = sector, .count = 1});
    }
  }
  return runs;
}

void encode_region_sectors(std::span<const std::uint64_t> bits, std::uint32_t area_id, SectorRun run,
                           std::vector<std::byte>& bytes) {
  bytes.assign(run.count * kStoreSectorBytes, std::byte{0});
  for (std::size_t number = 0; number < run.count; number++) {
    const std::size_t sector = run.first + number;
    std::array<std::uint64_t, kSectorWords> words;
    std::ranges::transform(bits.subspan(sector * kSectorWords, kSectorWords), words.begin(), little_endian);
    const auto place = std::span(bytes).subspan(number * kStoreSectorBytes).first<kStoreSectorBytes>();
    encode_sector(place, area_id, static_cast<std::uint32_t>(sector), words);
  }
}

bool decode_region_sector(std::span<const std::byte, kStoreSectorBytes> sector, std::uint32_t area_id,
                          std::uint32_t index, std::span<std::uint64_t> bits) {
  std::array<std::uint64_t, kSectorWords> words;
  const bool is_intact = decode_sector(sector, area_id, index, words);
  for (std::size_t word = 0; word < kSectorWords; word++) {
    bits[index * kSectorWords + word] |= is_intact ? little_endian(words[word]) : UINT64_MAX;
  }
  return is_intact;
}

}  // namespace blockexport::block
