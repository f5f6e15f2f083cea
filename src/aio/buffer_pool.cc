#include "aio/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace blockexport::aio {
namespace {

constexpr std::size_t kSmallestBytes = 4096;
// Room behind a power of two, so that a reply of 1 MiB with its head does not take 2 MiB.
constexpr std::size_t kHeadBytes = 4096;

std::size_t class_of(std::size_t bytes) {
  std::size_t body = bytes > kSmallestBytes + kHeadBytes ? bytes - kHeadBytes : kSmallestBytes;
  return static_cast<std::size_t>(std::bit_width((body - 1) / kSmallestBytes));
}

std::size_t bytes_of_class(std::size_t index) {
  return (kSmallestBytes << index) + kHeadBytes;
}

}  // namespace

Buffer::~Buffer() {
  if (pool_ != nullptr) pool_->give_back(data_, size_);
}

BufferPool::~BufferPool() {
  trim();
}

Buffer BufferPool::take(std::size_t bytes) {
  used_ = true;
  std::size_t index = class_of(bytes);
  std::size_t size = bytes_of_class(index);
  if (index < kClasses && !idle_[index].empty()) {
    std::byte* data = idle_[index].back();
    idle_[index].pop_back();
    idle_bytes_ -= size;
    return Buffer(*this, data, size);
  }
  auto* data = static_cast<std::byte*>(std::aligned_alloc(kAlignmentBytes, size));
  if (data == nullptr) std::abort();
  return Buffer(*this, data, size);
}

void BufferPool::give_back(std::byte* data, std::size_t size) {
  used_ = true;
  std::size_t index = class_of(size);
  if (index >= kClasses || idle_bytes_ + size > idle_bytes_max_) {
    std::free(data);
    return;
  }
  idle_[index].push_back(data);
  idle_bytes_ += size;
}

void BufferPool::trim() {
  for (std::size_t index = 0; index < kClasses; ++index) {
    for (std::byte* data : idle_[index]) {
      // The allocator may keep what is freed; its pages go all the same.
      (void)::madvise(data, bytes_of_class(index), MADV_DONTNEED);
      std::free(data);
    }
    idle_[index].clear();
  }
  idle_bytes_ = 0;
}

}  // namespace blockexport::aio
