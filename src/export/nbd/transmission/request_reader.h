// RequestReader: splits a client's bytes into requests. It holds received bytes that are not consumed yet, the payload
// of a large WRITE while it arrives, and the count of payload bytes of a refused request that must be skipped.
//
// It decodes, and makes no decisions; the bytes behind a header stay until the session takes them. Owned by the
// session; thread: that of its reactor. Never waits: a session receives when no complete request is left.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "export/nbd/transmission/payload.h"
#include "export/nbd/transmission/receive_window.h"
#include "export/nbd/wire/wire_codec.h"
#include "net/stream.h"

namespace blockexport::nbd {

class RequestReader {
 public:
  // `early` are the bytes that the client sent before the reader existed.
  RequestReader(aio::BufferPool& pool, HeaderMode mode, std::span<const std::byte> early)
      : pool_(pool), mode_(mode), window_(pool) {
    window_.put(early);
  }

  // True if the reader is between two requests: none at the front has begun without being complete.
  bool is_at_boundary() const { return !payload_.active() && part_rest_bytes_ == 0 && skip_bytes_ == 0; }
  // The received bytes that are not consumed.
  std::vector<std::byte> unread() const { return window_.copy(); }
  // Number of those bytes; a caller sees progress when it decreases.
  std::size_t size() const { return window_.size(); }

  // --- the request at the front ---
  std::size_t header_bytes() const { return request_header_bytes(mode_); }
  bool has_header() const { return window_.bytes().size() >= header_bytes(); }
  Request next() const { return decode_request(window_.bytes(), mode_); }
  // True if the request is here with the first `bytes` of its payload; and if those are contiguous.
  bool has_payload(std::size_t bytes) const { return window_.size() >= header_bytes() + bytes; }
  bool has_payload_in_one_piece(std::size_t bytes) const { return window_.bytes().size() >= header_bytes() + bytes; }
  // Reserves the next bytes for the rest of it: see ReceiveWindow::expect().
  void expect_payload(std::size_t bytes) { window_.expect(header_bytes() + bytes); }
  // Its payload, in at most two pieces; and in one.
  std::array<iovec, 2> payload_pieces(std::size_t bytes) const { return window_.pieces(header_bytes(), bytes); }
  std::span<const std::byte> payload_bytes(std::size_t bytes) const {
    return window_.bytes().subspan(header_bytes(), bytes);
  }
  // All contiguous bytes from its header on.
  std::span<const std::byte> bytes() const { return window_.bytes(); }
  // Consumes it with `payload_bytes` behind its header.
  void consume(std::size_t payload_bytes = 0) { window_.consume(header_bytes() + payload_bytes); }
  // Consumes several requests.
  void consume_bytes(std::size_t bytes) { window_.consume(bytes); }

  // --- payload of refused requests ---
  void skip(std::uint64_t bytes) { skip_bytes_ = bytes; }
  // Skips the part of it that is here; true when it is complete.
  bool skip_what_is_there() {
    const std::size_t step = std::min<std::uint64_t>(skip_bytes_, window_.size());
    if (step > 0) window_.consume(step);
    skip_bytes_ -= step;
    return skip_bytes_ == 0;
  }

  // --- payload of a large WRITE, which arrives in pieces ---
  Payload& payload() { return payload_; }
  const Payload& payload() const { return payload_; }
  const Request& payload_request() const { return *payload_request_; }
  // Consumes the header at the front. `hold`: the received part of its payload stays in the window.
  void begin_payload(const Request& request, bool hold, std::size_t bounce_bytes) {
    consume();
    payload_request_ = request;
    payload_.begin(request.length, hold ? window_.bytes() : std::span<const std::byte>(), bounce_bytes);
  }
  // Moves the payload out of the reader, and the bytes that it holds in the window to memory of its own.
  Payload take_payload() {
    if (const std::size_t held_bytes = payload_.held_bytes(); held_bytes > 0) {
      payload_.own(pool_.take(held_bytes));
      window_.consume(held_bytes);
    }
    Payload taken = std::move(payload_);
    payload_.clear();
    return taken;
  }
  // The payload was written or dropped: back to idle. The caller returns its memory to the budget.
  void drop_payload(bool with_held_bytes) {
    if (with_held_bytes) window_.consume(payload_.held_bytes());
    payload_.clear();
  }
  // A part of the payload was taken and is being written; the rest is received or skipped when it comes back.
  Payload take_part() {
    part_rest_bytes_ = payload_.missing();
    return take_payload();
  }
  void part_came_back(Payload part) {
    part_rest_bytes_ = 0;
    payload_ = std::move(part);
  }
  void part_failed(std::size_t missing_bytes) {
    part_rest_bytes_ = 0;
    skip_bytes_ = missing_bytes;
  }
  // Drops the WRITE that has not begun: the received part of its payload and all that follows.
  void refuse_payload() {
    if (payload_.active()) {
      skip_bytes_ = payload_.held_bytes() + payload_.missing();
      payload_.clear();
    }
    if (part_rest_bytes_ > 0) skip_bytes_ = part_rest_bytes_;
  }
  // Adds a piece, for which `budget_bytes` were taken.
  void add_piece(std::size_t budget_bytes) {
    payload_.cover(budget_bytes);
    payload_.add_piece(pool_.take(payload_.next_piece_bytes()));
  }
  // Moves bytes that arrived with the header into the payload's piece; false when there are none.
  bool take_early_payload() {
    const std::span<const std::byte> early = window_.bytes();
    if (early.empty() || payload_.held_bytes() > 0) return false;
    const std::span<std::byte> space = payload_.space();
    const std::size_t step = std::min(early.size(), space.size());
    std::memcpy(space.data(), early.data(), step);
    payload_.received(step);
    window_.consume(step);
    return true;
  }

  // --- receiving without waiting: returns the number of bytes, 0 at the end of the stream, or EAGAIN ---
  IoCount try_receive(net::Stream& stream) {
    IoCount received = stream.try_receive(window_.space());
    if (received && *received > 0) window_.received(*received);
    return received;
  }
  IoCount try_receive_payload(net::Stream& stream) {
    IoCount received = stream.try_receive(payload_.space());
    if (received && *received > 0) payload_.received(*received);
    return received;
  }
  // An idle connection holds no buffer.
  void release_if_empty() { window_.release_if_empty(); }

 private:
  aio::BufferPool& pool_;
  HeaderMode mode_;
  ReceiveWindow window_;
  std::optional<Request> payload_request_;  // the WRITE whose payload arrives in pieces
  Payload payload_;
  std::size_t part_rest_bytes_ = 0;  // missing bytes of the payload, while a part of it is written
  std::uint64_t skip_bytes_ = 0;     // bytes of a refused request's payload that must be skipped
};

}  // namespace blockexport::nbd
