// ReceiveWindow: the bytes that a connection has received and not yet used.
//
// One pooled buffer, taken when bytes are about to arrive and given back when none are left, so that an idle connection
// holds no memory. Owned by the session; thread: its reactor's.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstring>
#include <span>

#include "aio/buffer_pool.h"

namespace blockexport::nbd {

class ReceiveWindow {
 public:
  static constexpr std::size_t kCapacityBytes = 128u << 10;

  explicit ReceiveWindow(aio::BufferPool& pool) : pool_(pool) {}

  std::span<const std::byte> bytes() const { return {buffer_.data() + begin_, end_ - begin_}; }

  // `count` bytes from the front were used.
  void consume(std::size_t count) {
    assert(count <= end_ - begin_);
    begin_ += count;
    if (begin_ == end_) begin_ = end_ = 0;
  }

  // Where to receive the next bytes: at least half of the capacity, unless the window is that full already.
  std::span<std::byte> space() {
    if (buffer_.size() == 0) buffer_ = pool_.take(kCapacityBytes);
    if (begin_ > 0 && kCapacityBytes - end_ < kCapacityBytes / 2) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return {buffer_.data() + end_, kCapacityBytes - end_};
  }
  void received(std::size_t count) { end_ += count; }

  // Bytes that came before the session began: what stood behind the handshake. At most kCapacityBytes.
  void put(std::span<const std::byte> early) {
    if (early.empty()) return;
    assert(early.size() <= space().size());
    std::memcpy(space().data(), early.data(), early.size());
    received(early.size());
  }

  // Gives the buffer back when nothing is in it.
  void release_if_empty() {
    if (begin_ == end_) buffer_ = {};
  }

 private:
  aio::BufferPool& pool_;
  aio::Buffer buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace blockexport::nbd
