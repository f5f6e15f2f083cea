#include "aio/memory/buffer_pool.h"

#include <cstdlib>

#include "base/free_pages.h"

namespace blockexport::aio {

Buffer::~Buffer() {
  if (pool_ != nullptr) pool_->give_back(data_, size_);
}

BufferPool::~BufferPool() {
  trim();
}

Buffer BufferPool::take(std::size_t bytes) {
  used_ = true;
  std::size_t index = buffer_size_class(bytes);
  std::size_t size = buffer_bytes(index);
  if (index < Slabs::kSizeClasses) {
    if (std::byte* data = slabs_.take(index); data != nullptr) return Buffer(*this, data, size);
  }
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
  std::size_t index = buffer_size_class(size);
  if (index < Slabs::kSizeClasses && slabs_.give_back(data, index)) return;
  if (index >= kClasses || idle_bytes_ + size > idle_bytes_max_) return free_pages(data, size);
  idle_[index].push_back(data);
  idle_bytes_ += size;
}

void BufferPool::trim() {
  slabs_.trim();
  for (std::size_t index = 0; index < kClasses; ++index) {
    for (std::byte* data : idle_[index]) free_pages(data, buffer_bytes(index));
    idle_[index].clear();
  }
  idle_bytes_ = 0;
}

}  // namespace blockexport::aio
