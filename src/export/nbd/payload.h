// Payload: the data of one WRITE while it arrives, in pieces that are taken as bytes come.
//
// A client that announces 32 MiB and sends nothing costs one piece. The write starts when all of it is there, so a
// client that dies in the middle changes nothing. The budget for all of it is taken before the second piece, so that
// what has begun to arrive can always end: many payloads that each wait for the next piece would wait for each other.
// Owned by the session; thread: its reactor's.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "aio/buffer_pool.h"

namespace blockexport::nbd {

class Payload {
 public:
  static constexpr std::size_t kPieceBytes = 256u << 10;

  // Idle: nothing is arriving.
  Payload() = default;
  explicit Payload(std::size_t bytes) { begin(bytes); }

  // From idle: `bytes` are going to arrive. What earlier payloads allocated for bookkeeping is used again.
  void begin(std::size_t bytes) {
    missing_ = uncovered_bytes_ = bytes;
    active_ = true;
  }
  // Back to idle; the pieces are given back.
  void clear() {
    first_piece_ = {};
    further_pieces_.clear();
    vectors_.clear();
    missing_ = room_ = uncovered_bytes_ = budget_bytes_ = 0;
    active_ = false;
  }
  bool active() const { return active_; }

  // Bytes still to come.
  std::size_t missing() const { return missing_; }
  bool complete() const { return missing_ == 0; }

  // Whether the next byte needs a piece that is not there; the caller takes next_budget_bytes() from its budget first,
  // and says so with cover().
  bool needs_piece() const { return missing_ > 0 && room_ == 0; }
  std::size_t next_piece_bytes() const { return std::min(missing_, kPieceBytes); }
  std::size_t next_budget_bytes() const {
    return first_piece_.data() == nullptr ? next_piece_bytes() : uncovered_bytes_;
  }
  void cover(std::size_t bytes) {
    uncovered_bytes_ -= bytes;
    budget_bytes_ += bytes;
  }
  void add_piece(aio::Buffer piece) {
    room_ = next_piece_bytes();
    const iovec vector{.iov_base = piece.data(), .iov_len = 0};
    if (first_piece_.data() == nullptr) {
      first_vector_ = vector;
      first_piece_ = std::move(piece);
      return;
    }
    if (vectors_.empty()) vectors_.push_back(first_vector_);
    vectors_.push_back(vector);
    further_pieces_.push_back(std::move(piece));
  }

  // Where the next bytes go; not empty unless a piece is needed or all is there.
  std::span<std::byte> space() {
    if (first_piece_.data() == nullptr) return {};
    return {static_cast<std::byte*>(last().iov_base) + last().iov_len, room_};
  }
  void received(std::size_t count) {
    last().iov_len += count;
    room_ -= count;
    missing_ -= count;
  }

  // Valid while it stays where it is.
  std::span<const iovec> vectors() const {
    if (!vectors_.empty()) return vectors_;
    return {&first_vector_, first_piece_.data() == nullptr ? 0u : 1u};
  }
  // What was taken for it from the budget.
  std::size_t budget_bytes() const { return budget_bytes_; }

 private:
  iovec& last() { return vectors_.empty() ? first_vector_ : vectors_.back(); }

  // Most have one piece, which needs no memory for bookkeeping.
  aio::Buffer first_piece_;
  iovec first_vector_{};
  std::vector<aio::Buffer> further_pieces_;
  std::vector<iovec> vectors_;  // of all pieces, when there are several
  std::size_t missing_ = 0;
  std::size_t room_ = 0;
  std::size_t uncovered_bytes_ = 0;
  std::size_t budget_bytes_ = 0;
  bool active_ = false;
};

}  // namespace blockexport::nbd
