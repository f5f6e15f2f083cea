// PageStore: sparse content of a simulated file, stored by page; a page that was never written is a hole. Owned by a
// SimulatedFile. Thread: the simulation's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>

namespace blockexport::aio {

class PageStore {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;

  std::uint64_t size() const { return size_; }
  std::uint64_t allocated_bytes() const { return pages_.size() * kPageBytes; }

  // Reads up to size(); returns the number of bytes.
  std::size_t read(std::uint64_t offset, std::span<std::byte> out) const;
  // Grows the file if needed.
  void write(std::uint64_t offset, std::span<const std::byte> data);
  // Zeroes the range; whole pages become holes. Never grows the file.
  void punch(std::uint64_t offset, std::uint64_t length);
  // Allocates the pages of the range. Never grows the file.
  void allocate(std::uint64_t offset, std::uint64_t length);
  void truncate(std::uint64_t size);

  // As lseek(2) with SEEK_DATA or SEEK_HOLE; `offset` is below size(). size() when there is none.
  std::uint64_t next_data(std::uint64_t offset) const;
  std::uint64_t next_hole(std::uint64_t offset) const;

 private:
  using Page = std::array<std::byte, kPageBytes>;
  void zero_in_page(std::uint64_t offset, std::uint64_t length);

  std::map<std::uint64_t, Page> pages_;  // by page number
  std::uint64_t size_ = 0;
};

}  // namespace blockexport::aio
