// ReceiveWindow: the bytes that a connection has received and not yet used.
//
// One pooled buffer, taken when bytes are about to arrive and given back when none are left, so that an idle connection
// holds no memory. They lie in one piece, but for one case: the rest of a long request that has come in part may be put
// at the start of the buffer, for it would cost more to move the part. Owned by the session; thread: its reactor's.
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

#include "aio/buffer_pool.h"

namespace blockexport::nbd {

class ReceiveWindow {
 public:
  static constexpr std::size_t kCapacityBytes = 128u << 10;
  // A shorter part is moved: what lies in one piece can be looked at together with what comes behind it.
  static constexpr std::size_t kMovedBytesMax = 16u << 10;

  explicit ReceiveWindow(aio::BufferPool& pool) : pool_(pool) {}

  // The first piece of what is there, which is all of it unless the request at the front is in two.
  std::span<const std::byte> bytes() const { return {buffer_.data() + begin_, end_ - begin_}; }
  std::size_t size() const { return end_ - begin_ + wrapped_; }

  // The request at the front, of which some is there, takes up `bytes` in all, at most the capacity. True until
  // something is consumed.
  void expect(std::size_t bytes) { expected_ = bytes; }

  // Where the `count` bytes behind the first `skipped`, which are in the first piece, lie. All of them are there.
  // Nobody writes through it; iovec only has no const form.
  std::array<iovec, 2> pieces(std::size_t skipped, std::size_t count) const {
    assert(skipped <= end_ - begin_ && skipped + count <= size());
    const std::size_t first = std::min(count, end_ - begin_ - skipped);
    return {iovec{buffer_.data() + begin_ + skipped, first}, iovec{buffer_.data(), count - first}};
  }

  // `count` bytes from the front were used.
  void consume(std::size_t count) {
    assert(count <= size());
    expected_ = 0;
    begin_ += count;
    if (begin_ < end_) return;
    begin_ -= end_;
    end_ = std::exchange(wrapped_, 0);
    if (begin_ == end_) begin_ = end_ = 0;
  }

  // Where to receive the next bytes: at least half of the capacity, unless the window is that full already, or no less
  // than the request at the front lacks.
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
  // So many bytes were put into what space() gave last.
  void received(std::size_t count) { (wraps() ? wrapped_ : end_) += count; }

  // Bytes that came before the session began: what stood behind the handshake. At most kCapacityBytes.
  void put(std::span<const std::byte> early) {
    if (early.empty()) return;
    assert(early.size() <= space().size());
    std::memcpy(space().data(), early.data(), early.size());
    received(early.size());
  }

  // All that is there.
  std::vector<std::byte> copy() const {
    std::vector<std::byte> all;
    for (const iovec& piece : pieces(0, size())) {
      const auto* begin = static_cast<const std::byte*>(piece.iov_base);
      all.insert(all.end(), begin, begin + piece.iov_len);
    }
    return all;
  }

  // Gives the buffer back when nothing is in it.
  void release_if_empty() {
    if (size() == 0) buffer_ = {};
  }

 private:
  // Whether what comes next is put at the start of the buffer, where there is room for all that the request at the
  // front lacks, and more than behind its part.
  bool wraps() const {
    if (wrapped_ > 0) return true;
    const std::size_t part = end_ - begin_;
    return part > kMovedBytesMax && expected_ > part && begin_ >= expected_ - part && begin_ > kCapacityBytes - end_;
  }

  aio::BufferPool& pool_;
  aio::Buffer buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t wrapped_ = 0;   // bytes at the start of the buffer, which follow those before end_
  std::size_t expected_ = 0;  // of the request at the front; 0: not known
};

}  // namespace blockexport::nbd
