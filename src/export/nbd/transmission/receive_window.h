// ReceiveWindow: buffer of the bytes that a connection has received and not consumed.
//
// One pooled buffer, allocated when bytes are about to arrive and released when it is empty, so that an idle connection
// holds no memory. The bytes are contiguous, with one exception: the rest of a long request may be received at the
// start of the buffer, because moving its first part would cost more. Owned by the session; thread: that of its
// reactor.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "aio/memory/buffer_pool.h"

namespace blockexport::nbd {

class ReceiveWindow {
 public:
  static constexpr std::size_t kCapacityBytes = 128u << 10;
  // A shorter part is moved: contiguous bytes can be parsed together with the bytes that follow.
  static constexpr std::size_t kMovedBytesMax = 16u << 10;

  explicit ReceiveWindow(aio::BufferPool& pool) : pool_(pool) {}

  // The first contiguous piece, which has all bytes unless the request at the front is in two pieces.
  std::span<const std::byte> bytes() const { return {buffer_.data() + begin_, end_ - begin_}; }
  std::size_t size() const { return end_ - begin_ + wrapped_; }

  // The request at the front, of which a part is here, has `bytes` in all, at most the capacity. Holds until bytes are
  // consumed.
  void expect(std::size_t bytes) { expected_ = bytes; }

  // The `count` bytes after the first `skipped`, which are in the first piece. All of them are here. They are only
  // read; iovec has no const form.
  std::array<iovec, 2> pieces(std::size_t skipped, std::size_t count) const {
    assert(skipped <= end_ - begin_ && skipped + count <= size());
    const std::size_t first = std::min(count, end_ - begin_ - skipped);
    return {iovec{buffer_.data() + begin_ + skipped, first}, iovec{buffer_.data(), count - first}};
  }

  // Consumes `count` bytes from the front.
  void consume(std::size_t count) {
    assert(count <= size());
    expected_ = 0;
    begin_ += count;
    if (begin_ < end_) return;
    begin_ -= end_;
    end_ = std::exchange(wrapped_, 0);
    if (begin_ == end_) begin_ = end_ = 0;
  }

  // Buffer for the next bytes: at least half of the capacity, unless the window is already that full, and at least the
  // missing bytes of the request at the front.
  std::span<std::byte> space() {
    if (buffer_.size() == 0) buffer_ = pool_.take(kCapacityBytes);
    if (wraps()) return {buffer_.data() + wrapped_, begin_ - wrapped_};
    if (begin_ > 0 && kCapacityBytes - end_ < kCapacityBytes / 2) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return {buffer_.data() + end_, kCapacityBytes - end_};
  }
  // `count` bytes were received into the last result of space().
  void received(std::size_t count) { (wraps() ? wrapped_ : end_) += count; }

  // Adds bytes that arrived behind the handshake, before the session began. At most kCapacityBytes.
  void put(std::span<const std::byte> early) {
    if (early.empty()) return;
    assert(early.size() <= space().size());
    std::memcpy(space().data(), early.data(), early.size());
    received(early.size());
  }

  // A copy of all bytes.
  std::vector<std::byte> copy() const {
    std::vector<std::byte> all;
    for (const iovec& piece : pieces(0, size())) {
      const auto* begin = static_cast<const std::byte*>(piece.iov_base);
      all.insert(all.end(), begin, begin + piece.iov_len);
    }
    return all;
  }

  // Releases the buffer if it is empty.
  void release_if_empty() {
    if (size() == 0) buffer_ = {};
  }

 private:
  // True if the next bytes go to the start of the buffer: it has space there for all missing bytes of the request at
  // the front, and more than behind its first part.
  bool wraps() const {
    if (wrapped_ > 0) return true;
    const std::size_t part = end_ - begin_;
    return part > kMovedBytesMax && expected_ > part && begin_ >= expected_ - part && begin_ > kCapacityBytes - end_;
  }

  aio::BufferPool& pool_;
  aio::Buffer buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t wrapped_ = 0;   // bytes at the start of the buffer, which continue those before end_
  std::size_t expected_ = 0;  // length of the request at the front; 0: unknown
};

}  // namespace blockexport::nbd
