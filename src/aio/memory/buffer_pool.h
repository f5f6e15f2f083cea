// BufferPool: reuse of the buffers for transfers. A new large buffer costs more than the read that fills it, because
// the kernel has to clear its pages; so the pool keeps freed buffers.
//
// Sizes are powers of two from 4 KiB to 32 MiB plus a page for a reply's header; all are aligned to 4096. Buffers of up
// to 64 KiB are cut from slabs, which a ring can pin (slabs.h). One pool per reactor; thread: its reactor's.
// idle_bytes_max limits the idle buffers, Slabs::kSlabsMax the slabs; after an idle time both are trimmed
// (pool_trimmer.h). Budgets limit the memory in use.
#pragma once

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "aio/memory/slabs.h"

namespace blockexport::aio {

class BufferPool;

// A buffer of a pool; the destructor returns it. Empty by default.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Buffer();

  std::byte* data() const { return data_; }
  // At least the requested size.
  std::size_t size() const { return size_; }

 private:
  friend class BufferPool;
  Buffer(BufferPool& pool, std::byte* data, std::size_t size) : pool_(&pool), data_(data), size_(size) {}
  void swap(Buffer& other) {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

class BufferPool {
 public:
  static constexpr std::size_t kAlignmentBytes = kBufferAlignmentBytes;
  static constexpr std::size_t kIdleBytesMaxDefault = 64u << 20;

  explicit BufferPool(std::size_t idle_bytes_max = kIdleBytesMaxDefault) : idle_bytes_max_(idle_bytes_max) {}
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Returns a buffer of at least `bytes` (at least 1) with undefined content. Aborts the process when the system has no
  // memory.
  Buffer take(std::size_t bytes);

  std::size_t idle_bytes() const { return idle_bytes_ + slabs_.idle_bytes(); }
  // Returns idle memory to the system.
  void trim();
  // True if a buffer was taken or returned since the last call.
  bool was_used() { return std::exchange(used_, false); }

  const Slabs& slabs() const { return slabs_; }

 private:
  friend class Buffer;
  static constexpr std::size_t kClasses = 16;
  void give_back(std::byte* data, std::size_t size);

  Slabs slabs_;
  std::size_t idle_bytes_max_;
  std::size_t idle_bytes_ = 0;  // bytes of idle buffers outside the slabs
  bool used_ = false;
  std::array<std::vector<std::byte*>, kClasses> idle_;
};

}  // namespace blockexport::aio
