#include "nbdload/outbox.h"

#include <algorithm>

#include "common/wire.h"

namespace blockexport::bench {

namespace {

constexpr std::size_t kMostPieces = 1024;

}  // namespace

Outbox::Outbox(Replies replies, unsigned depth)
    : extended_(replies == Replies::kExtended), headers_(std::size_t{depth} * 2 * kHeaderRoom) {
  pieces_.reserve(std::size_t{depth} * 4);
}

void Outbox::put(const Request& request, uint16_t flags, uint64_t cookie, std::span<const std::byte> payload) {
  constexpr uint16_t kPayloadLengthFlag = 32;
  std::byte* start = headers_.data() + used_;
  std::byte* at = store_be(start, extended_ ? kExtendedRequestMagic : kRequestMagic);
  at = store_be(at, static_cast<uint16_t>(flags | (extended_ && !payload.empty() ? kPayloadLengthFlag : 0)));
  at = store_be(at, static_cast<uint16_t>(request.command));
  at = store_be(at, cookie);
  at = store_be(at, request.offset);
  at = extended_ ? store_be(at, uint64_t{request.length}) : store_be(at, request.length);
  auto size = static_cast<std::size_t>(at - start);
  used_ += size;
  iovec* last = empty() ? nullptr : &pieces_.back();
  if (last != nullptr && static_cast<std::byte*>(last->iov_base) + last->iov_len == start) {
    last->iov_len += size;
  } else {
    pieces_.push_back({.iov_base = start, .iov_len = size});
  }
  if (!payload.empty()) {
    pieces_.push_back({.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()});
  }
}

bool Outbox::send_some(Channel& channel) {
  while (!empty() || channel.has_unsent()) {
    std::span<const iovec> pieces(pieces_.data() + first_, std::min(pieces_.size() - first_, kMostPieces));
    ssize_t sent = channel.send_pieces(pieces);
    if (sent < 0) {
      return false;
    }
    drop_sent(static_cast<std::size_t>(sent));
    if (sent == 0 || channel.has_unsent()) {
      break;
    }
  }
  if (!empty()) {
    return true;
  }
  pieces_.clear();
  first_ = 0;
  used_ = 0;
  return true;
}

void Outbox::drop_sent(std::size_t bytes) {
  while (bytes != 0) {
    iovec& piece = pieces_[first_];
    if (bytes < piece.iov_len) {
      piece.iov_base = static_cast<std::byte*>(piece.iov_base) + bytes;
      piece.iov_len -= bytes;
      return;
    }
    bytes -= piece.iov_len;
    ++first_;
  }
}

}  // namespace blockexport::bench
