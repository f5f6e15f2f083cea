// Payload: data of one WRITE while they arrive, in pieces that are allocated as the bytes come.
//
// A client that announces 32 MiB and sends nothing costs one piece. The write starts when the payload is complete, so a
// client that ends in the middle changes nothing. The memory for all remaining pieces is taken from the budget before
// the second piece, so that a payload which has begun to arrive can always be completed: otherwise many payloads could
// wait for each other's pieces for ever.
//
// When the budget cannot cover the complete payload, it is split: the received part is written, and its piece is used
// for the next part. A client that ends then has changed a part of the range, as it may when it ends before the reply.
//
// Bytes that arrived together with the header may stay in the receive window and be written from there: the payload
// holds them until the write is done, or copies them into its own memory when the write has to wait. Owned by the
// session; thread: that of its reactor.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <span>
#include <vector>

#include "aio/memory/buffer_pool.h"
#include "export/nbd/transmission/request_memory.h"

namespace blockexport::nbd {

class Payload {
 public:
  // Idle: no payload is arriving.
  Payload() = default;
  explicit Payload(std::size_t bytes) { begin(bytes); }

  // From idle: the payload has `bytes`, of which the window holds `held`, which may be empty and is shorter than a
  // piece. The write will need `bounce_bytes` more memory. Memory for bookkeeping is reused.
  void begin(std::size_t bytes, std::span<const std::byte> held = {}, std::size_t bounce_bytes = 0) {
    assert(held.size() < std::min(bytes, kPieceBytes));
    bounce_bytes_ = bounce_bytes;
    missing_ = bytes - held.size();
    held_bytes_ = held.size();
    // The vector is only read; iovec has no const form.
    if (!held.empty()) add_vector({const_cast<std::byte*>(held.data()), held.size()});
    active_ = true;
  }
  // Back to idle; releases the pieces.
  void clear() {
    copy_ = {};
    first_piece_ = {};
    further_pieces_.clear();
    many_.clear();
    vector_count_ = 0;
    missing_ = held_bytes_ = piece_space_bytes_ = bounce_bytes_ = budget_bytes_ = written_bytes_ = 0;
    active_ = is_split_ = false;
  }
  bool active() const { return active_; }

  // Bytes that stay in the receive window.
  std::size_t held_bytes() const { return held_bytes_; }
  // Copies them into `copy`, which is large enough and counted in the budget already.
  void own(aio::Buffer copy) {
    iovec& first = many_.empty() ? few_[0] : many_[0];
    std::memcpy(copy.data(), first.iov_base, held_bytes_);
    first.iov_base = copy.data();
    copy_ = std::move(copy);
    held_bytes_ = 0;
  }

  // From now on the payload is written in parts, which need less memory besides their piece.
  void split() {
    is_split_ = true;
    bounce_bytes_ = std::min(bounce_bytes_, 2 * kPieceBytes);
  }
  bool is_split() const { return is_split_; }
  bool has_piece() const { return first_piece_.data() != nullptr; }
  // Bytes of earlier parts, which are written; and received bytes that are not written yet.
  std::size_t written_bytes() const { return written_bytes_; }
  std::size_t part_bytes() const {
    std::size_t sum = 0;
    for (const iovec& vector : vectors()) sum += vector.iov_len;
    return sum;
  }
  // The received part, a full piece of its own memory, was written.
  void part_written() {
    assert(is_split_ && held_bytes_ == 0 && piece_space_bytes_ == 0 && further_pieces_.empty());
    written_bytes_ += part_bytes();
    copy_ = {};
    many_.clear();
    vector_count_ = 0;
    add_vector({.iov_base = first_piece_.data(), .iov_len = 0});
    piece_space_bytes_ = std::min(missing_, first_piece_.size() / kPartStepBytes * kPartStepBytes);
  }

  // Missing bytes.
  std::size_t missing() const { return missing_; }
  bool complete() const { return missing_ == 0; }

  // True if the next byte needs a new piece. The caller first takes next_budget_bytes() from its budget, and reports it
  // with cover().
  bool needs_piece() const { return missing_ > 0 && piece_space_bytes_ == 0; }
  // The first piece is shorter by the held bytes.
  std::size_t next_piece_bytes() const {
    const bool first = !has_piece();
    return std::min(missing_, first ? kPieceBytes - held_bytes_ : kPieceBytes);
  }
  // The memory of the write itself is taken with the first piece, that of all other pieces with the second.
  std::size_t next_budget_bytes() const {
    if (!has_piece()) return beside_pieces_bytes() + memory_of_pieces(next_piece_bytes());
    return further_pieces_.empty() ? memory_of_pieces(missing_) : 0;
  }
  void cover(std::size_t bytes) { budget_bytes_ += bytes; }
  void add_piece(aio::Buffer piece) {
    piece_space_bytes_ = next_piece_bytes();
    add_vector({.iov_base = piece.data(), .iov_len = 0});
    if (!has_piece()) {
      first_piece_ = std::move(piece);
    } else {
      further_pieces_.push_back(std::move(piece));
    }
  }

  // Buffer for the next bytes; empty only if a piece is needed or the payload is complete.
  std::span<std::byte> space() {
    if (!has_piece()) return {};
    return {static_cast<std::byte*>(last().iov_base) + last().iov_len, piece_space_bytes_};
  }
  void received(std::size_t count) {
    last().iov_len += count;
    piece_space_bytes_ -= count;
    missing_ -= count;
  }

  // Valid until the payload moves.
  std::span<const iovec> vectors() const {
    if (!many_.empty()) return many_;
    return {few_.data(), vector_count_};
  }
  // The bytes that it has taken from the budget.
  std::size_t budget_bytes() const { return budget_bytes_; }

 private:
  // If the request is aligned for direct I/O, each part ends at an aligned offset too. The first piece has at least
  // that length.
  static constexpr std::size_t kPartStepBytes = 64u << 10;

  std::size_t beside_pieces_bytes() const {
    return kTaskBytes + bounce_bytes_ + (held_bytes_ == 0 ? 0 : aio::buffer_memory_bytes(held_bytes_));
  }
  void add_vector(iovec vector) {
    if (vector_count_ == few_.size()) many_.assign(few_.begin(), few_.end());
    if (vector_count_ < few_.size()) {
      few_[vector_count_] = vector;
    } else {
      many_.push_back(vector);
    }
    ++vector_count_;
  }
  iovec& last() { return many_.empty() ? few_[vector_count_ - 1] : many_.back(); }

  // Most payloads have one piece, which needs no memory for bookkeeping.
  aio::Buffer copy_;  // copy of the held bytes
  aio::Buffer first_piece_;
  std::vector<aio::Buffer> further_pieces_;
  std::array<iovec, 2> few_{};
  std::vector<iovec> many_;  // all vectors, when they exceed the capacity of few_
  std::size_t vector_count_ = 0;
  std::size_t missing_ = 0;
  std::size_t held_bytes_ = 0;
  std::size_t piece_space_bytes_ = 0;
  std::size_t bounce_bytes_ = 0;
  std::size_t budget_bytes_ = 0;
  std::size_t written_bytes_ = 0;
  bool active_ = false;
  bool is_split_ = false;
};

}  // namespace blockexport::nbd
