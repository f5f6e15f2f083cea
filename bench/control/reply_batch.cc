#include "control/reply_batch.h"

#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/fatal.h"
#include "common/wire.h"

namespace blockexport::bench {

namespace {

constexpr std::size_t kHeadBytes = std::size_t{64} << 10;
// Small enough that a batch stays in the second-level cache.
constexpr std::size_t kFlushAt = std::size_t{256} << 10;
constexpr std::size_t kMostPieces = 1000;

}  // namespace

ReplyBatch::ReplyBatch()
    : heads_(kHeadBytes), pool_(std::make_unique_for_overwrite<std::byte[]>(kLargestPayload + kFlushAt + kHeadBytes)) {
  pieces_.reserve(kMostPieces + 2);
}

void ReplyBatch::add_piece(std::byte* start, std::size_t size) {
  iovec* last = pieces_.empty() ? nullptr : &pieces_.back();
  if (last != nullptr && static_cast<std::byte*>(last->iov_base) + last->iov_len == start) {
    last->iov_len += size;
  } else {
    pieces_.push_back({.iov_base = start, .iov_len = size});
  }
}

void ReplyBatch::put(std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return;
  }
  if (heads_used_ + bytes.size() > heads_.size() || pieces_.size() >= kMostPieces) {
    flush();
  }
  if (bytes.size() > heads_.size()) {
    heads_.resize(bytes.size());
  }
  std::byte* at = link_ != nullptr ? pool_.get() + pool_used_ : heads_.data() + heads_used_;
  std::ranges::copy(bytes, at);
  heads_used_ += bytes.size();
  pool_used_ += link_ != nullptr ? bytes.size() : 0;
  add_piece(at, bytes.size());
}

void ReplyBatch::put_data(const Image& image, uint64_t offset, uint32_t length) {
  switch (image.source) {
    case Source::kMemory:
      pieces_.push_back({.iov_base = const_cast<std::byte*>(image.hot.data()), .iov_len = length});
      return;
    case Source::kMapped:
      pieces_.push_back({.iov_base = image.mapping + offset, .iov_len = length});
      return;
    case Source::kSendfile:
      send_file(image, offset, length);
      return;
    case Source::kPread:
      break;
  }
  iovec into{.iov_base = pool_.get() + pool_used_, .iov_len = length};
  if (preadv2(image.fd, &into, 1, static_cast<off_t>(offset), 0) != static_cast<ssize_t>(length)) {
    fatal("read of the image: {}", std::strerror(errno));
  }
  pool_used_ += length;
  add_piece(pool_.get() + pool_used_ - length, length);
  if (pool_used_ >= kFlushAt) {
    flush();
  }
}

void ReplyBatch::send_file(const Image& image, uint64_t offset, uint32_t length) {
  flush(true);
  auto at = static_cast<off_t>(offset);
  for (std::size_t left = length; left != 0 && !failed_;) {
    ssize_t sent = sendfile(socket_, image.fd, &at, left);
    if (sent <= 0) {
      failed_ = true;
      return;
    }
    left -= static_cast<std::size_t>(sent);
  }
}

void ReplyBatch::flush(bool more) {
  if (link_ != nullptr) {
    link_->encrypt_apart(pieces_);
    failed_ |= !link_->send_some(true);
  } else {
    send_pieces(more);
  }
  pieces_.clear();
  heads_used_ = 0;
  pool_used_ = 0;
}

void ReplyBatch::send_pieces(bool more) {
  std::size_t first = 0;
  while (first < pieces_.size() && !failed_) {
    msghdr message{};
    message.msg_iov = pieces_.data() + first;
    message.msg_iovlen = pieces_.size() - first;
    ssize_t sent = sendmsg(socket_, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (sent < 0) {
      failed_ = true;
      break;
    }
    for (auto left = static_cast<std::size_t>(sent); left != 0;) {
      iovec& piece = pieces_[first];
      std::size_t step = std::min(left, piece.iov_len);
      piece.iov_base = static_cast<std::byte*>(piece.iov_base) + step;
      piece.iov_len -= step;
      left -= step;
      first += piece.iov_len == 0 ? 1 : 0;
    }
  }
}

}  // namespace blockexport::bench
