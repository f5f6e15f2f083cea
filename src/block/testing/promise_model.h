// PromiseModel: for each sector of a disk, the contents that it may have after a power cut at this moment. A sector is
// written by one request at a time, and each write fills it with one byte; different sectors are written by anybody at
// once.
//
// For tests that know the durable content of the simulated disk. Plain values; thread: the test's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "block/range.h"

namespace blockexport::block {

class PromiseModel {
 public:
  static constexpr std::uint64_t kSectorBytes = 512;

  // For each sector, the number of its writes that were acknowledged at some moment.
  using Moment = std::vector<std::size_t>;

  // All of it is `initial`, and durable.
  PromiseModel(std::size_t sectors, std::byte initial) : sectors_(sectors, Sector{.written = {initial}}) {}

  // A write of whole sectors begins. Until it is acknowledged a sector may have either content.
  void write_begins(Range range, std::byte value) {
    for (Sector& sector : of(range)) sector.written.push_back(value);
  }
  void write_is_acknowledged(Range range, bool is_durable) {
    for (Sector& sector : of(range)) {
      sector.acknowledged = sector.last();
      if (is_durable) sector.durable = std::max(sector.durable, sector.acknowledged);
    }
  }

  // A flush begins now; once it is acknowledged, all writes that were acknowledged at its begin are durable.
  Moment flush_begins() const {
    Moment acknowledged;
    for (const Sector& sector : sectors_) acknowledged.push_back(sector.acknowledged);
    return acknowledged;
  }
  void flush_is_acknowledged(const Moment& begun) {
    for (std::size_t i = 0; i < sectors_.size(); ++i) {
      sectors_[i].durable = std::max(sectors_[i].durable, begun[i]);
    }
  }

  // True if every reader must see this content now; no write of the range is under way.
  bool is_current(Range range, std::span<const std::byte> content) const {
    return fits(range, content, [](const Sector& sector, std::byte value) { return sector.written.back() == value; });
  }
  // The same while writes are under way, or were never answered.
  bool may_be_read(Range range, std::span<const std::byte> content) const {
    return fits(range, content, [](const Sector& sector, std::byte value) {
      return is_among(sector.written, sector.acknowledged, value);
    });
  }
  // The same for a read that began at that moment (see flush_begins()), whatever was written since.
  bool may_be_read_since(const Moment& begun, Range range, std::span<const std::byte> content) const {
    const std::size_t first = range.offset / kSectorBytes;
    for (std::size_t i = 0; i < content.size(); ++i) {
      const std::size_t sector = first + i / kSectorBytes;
      if (!is_among(sectors_[sector].written, begun[sector], content[i])) return false;
    }
    return true;
  }
  // True if the range may have this content after a power cut.
  bool may_be_left(Range range, std::span<const std::byte> content) const {
    return fits(range, content,
                [](const Sector& sector, std::byte value) { return is_among(sector.written, sector.durable, value); });
  }
  // True if it reads as zeros; no write of the range is under way.
  bool is_zero(Range range) const {
    return std::ranges::all_of(of(range), [](const Sector& one) { return one.written.back() == std::byte{0}; });
  }
  Range whole() const { return {0, sectors_.size() * kSectorBytes}; }

 private:
  struct Sector {
    std::vector<std::byte> written;  // in order
    // Indexes in it: of the newest acknowledged write, and of the newest durable one.
    std::size_t acknowledged = 0;
    std::size_t durable = 0;

    std::size_t last() const { return written.size() - 1; }
  };

  static bool is_among(std::span<const std::byte> written, std::size_t first, std::byte value) {
    return std::ranges::find(written.subspan(first), value) != written.end();
  }
  std::span<Sector> of(Range range) {
    return std::span(sectors_).subspan(range.offset / kSectorBytes, range.length / kSectorBytes);
  }
  std::span<const Sector> of(Range range) const {
    return std::span(sectors_).subspan(range.offset / kSectorBytes, range.length / kSectorBytes);
  }
  template <class Judge>
  bool fits(Range range, std::span<const std::byte> content, Judge judge) const {
    std::size_t at = 0;
    for (const Sector& sector : of(range)) {
      // Checked for each byte, because a write may be executed in parts that end within a sector.
      for (std::byte value : content.subspan(at, kSectorBytes)) {
        if (!judge(sector, value)) return false;
      }
      at += kSectorBytes;
    }
    return true;
  }

  std::vector<Sector> sectors_;
};

}  // namespace blockexport::block
