// Slabs: allocator of small buffers, which it cuts from slabs of 1 MiB in one reserved address range. So a few
// registered slabs cover hundreds of buffers, and a subtraction finds the slab of an address (uring/pinned_slabs.h).
//
// Each slab holds buffers of one size. Owned by a BufferPool. Thread: its reactor's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "aio/memory/buffer_sizes.h"

namespace blockexport::aio {

class Slabs {
 public:
  static constexpr std::size_t kSlabBytes = 1u << 20;
  static constexpr std::size_t kSlabsMax = 64;
  static constexpr std::size_t kSizeClasses = 5;  // up to 64 KiB plus a header

  Slabs() = default;
  ~Slabs();
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  // A buffer of buffer_bytes(size_class), size_class < kSizeClasses. Null when all slabs are in use, or when mmap(2)
  // fails.
  std::byte* take(std::size_t size_class);
  // Takes a buffer back; false when it is not from these slabs.
  bool give_back(std::byte* buffer, std::size_t size_class);

  // Memory of buffers that are not in use.
  std::size_t idle_bytes() const { return idle_bytes_; }
  // Returns that memory to the system.
  void trim();
  // The number of calls of trim(). A changed number tells the code that pins slabs that their pages may have changed.
  std::uint64_t trims() const { return trims_; }

  // The number, below kSlabsMax, of the slab that contains all of these bytes.
  std::optional<unsigned> slab_of(const void* start, std::size_t bytes) const;
  std::span<std::byte> slab(unsigned number) const { return {start_ + number * kSlabBytes, kSlabBytes}; }

 private:
  struct SizeClass {
    std::vector<std::byte*> warm;  // idle, with memory
    std::vector<std::byte*> cold;  // idle, without memory, in slabs with buffers in use
    std::byte* uncut = nullptr;    // unused part of the newest slab
    std::byte* uncut_end = nullptr;
  };

  bool reserve();
  bool add_slab(SizeClass& to);
  std::byte* pop(SizeClass& from, std::size_t bytes);
  std::byte* cut(SizeClass& from, std::size_t bytes);
  void trim(SizeClass& one, std::size_t bytes);
  unsigned number_of(const std::byte* address) const {
    return static_cast<unsigned>(static_cast<std::size_t>(address - start_) / kSlabBytes);
  }
  bool is_unused(const std::byte* address) const { return in_use_[number_of(address)] == 0; }

  std::byte* start_ = nullptr;
  std::uint64_t taken_ = 0;  // a bit per slab
  std::array<std::uint16_t, kSlabsMax> in_use_ = {};
  std::array<SizeClass, kSizeClasses> classes_;
  std::size_t idle_bytes_ = 0;
  std::uint64_t trims_ = 0;
};

}  // namespace blockexport::aio
