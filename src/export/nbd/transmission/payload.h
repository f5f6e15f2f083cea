// Payload: the data of one WRITE while it arrives, in pieces that are taken as bytes come.
//
// A client that announces 32 MiB and sends nothing costs one piece. The write starts when all of it is there, so a
// client that dies in the middle changes nothing. The budget for all of it is taken before the second piece, so that
// what has begun to arrive can always end: many payloads that each wait for the next piece would wait for each other.
//
// When there is no memory for all of it the payload is split: what has come is written, and its piece takes what comes
// next. A client that dies then has changed a part, as it may have when it dies before its answer.
//
// What came together with the request may stay where it is, and is then written from there: the payload holds it, until
// it is written or has to wait, for which it gets memory of its own. Owned by the session; thread: its reactor's.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <span>
#include <vector>

#include "aio/buffer_pool.h"
#include "export/nbd/transmission/request_memory.h"

namespace blockexport::nbd {

class Payload {
 public:
  // Idle: nothing is arriving.
  Payload() = default;
  explicit Payload(std::size_t bytes) { begin(bytes); }

  // From idle: `bytes` in all, of which `held` is there, which may be nothing and is shorter than a piece. The write
  // will take `bounce_bytes` more. What earlier payloads allocated for bookkeeping is used again.
  void begin(std::size_t bytes, std::span<const std::byte> held = {}, std::size_t bounce_bytes = 0) {
    assert(held.size() < std::min(bytes, kPieceBytes));
    bounce_bytes_ = bounce_bytes;
    missing_ = bytes - held.size();
    held_bytes_ = held.size();
    // Nobody writes through it; iovec only has no const form.
    if (!held.empty()) add_vector({const_cast<std::byte*>(held.data()), held.size()});
    active_ = true;
  }
  // Back to idle; the pieces are given back.
  void clear() {
    copy_ = {};
    first_piece_ = {};
    further_pieces_.clear();
    many_.clear();
    vector_count_ = 0;
    missing_ = held_bytes_ = room_ = bounce_bytes_ = budget_bytes_ = written_bytes_ = 0;
    active_ = is_split_ = false;
  }
  bool active() const { return active_; }

  // Bytes that belong to somebody else.
  std::size_t held_bytes() const { return held_bytes_; }
  // Copies them into `copy`, which has room for them and is in the budget already.
  void own(aio::Buffer copy) {
    iovec& first = many_.empty() ? few_[0] : many_[0];
    std::memcpy(copy.data(), first.iov_base, held_bytes_);
    first.iov_base = copy.data();
    copy_ = std::move(copy);
    held_bytes_ = 0;
  }

  // From now on it is written in parts, which take less beside their piece.
  void split() {
    is_split_ = true;
    bounce_bytes_ = std::min(bounce_bytes_, 2 * kPieceBytes);
  }
  bool is_split() const { return is_split_; }
  bool has_piece() const { return first_piece_.data() != nullptr; }
  // Bytes that were written and are not here any longer; and those that are here.
  std::size_t written_bytes() const { return written_bytes_; }
  std::size_t part_bytes() const {
    std::size_t sum = 0;
    for (const iovec& vector : vectors()) sum += vector.iov_len;
    return sum;
  }
  // What is here, a full piece of its own memory, was written.
  void part_written() {
    assert(is_split_ && held_bytes_ == 0 && room_ == 0 && further_pieces_.empty());
    written_bytes_ += part_bytes();
    copy_ = {};
    many_.clear();
    vector_count_ = 0;
    add_vector({.iov_base = first_piece_.data(), .iov_len = 0});
    room_ = std::min(missing_, first_piece_.size() / kPartStepBytes * kPartStepBytes);
  }

  // Bytes still to come.
  std::size_t missing() const { return missing_; }
  bool complete() const { return missing_ == 0; }

  // Whether the next byte needs a piece that is not there; the caller takes next_budget_bytes() from its budget first,
  // and says so with cover().
  bool needs_piece() const { return missing_ > 0 && room_ == 0; }
  // The first one is shorter by what is held.
  std::size_t next_piece_bytes() const {
    const bool first = !has_piece();
    return std::min(missing_, first ? kPieceBytes - held_bytes_ : kPieceBytes);
  }
  // With the first piece what the write takes beside pieces, with the second one all the others.
  std::size_t next_budget_bytes() const {
    if (!has_piece()) return beside_pieces_bytes() + memory_of_pieces(next_piece_bytes());
    return further_pieces_.empty() ? memory_of_pieces(missing_) : 0;
  }
  void cover(std::size_t bytes) { budget_bytes_ += bytes; }
  void add_piece(aio::Buffer piece) {
    room_ = next_piece_bytes();
    add_vector({.iov_base = piece.data(), .iov_len = 0});
    if (!has_piece()) {
      first_piece_ = std::move(piece);
    } else {
      further_pieces_.push_back(std::move(piece));
    }
  }

  // Where the next bytes go; not empty unless a piece is needed or all is there.
  std::span<std::byte> space() {
    if (!has_piece()) return {};
    return {static_cast<std::byte*>(last().iov_base) + last().iov_len, room_};
  }
  void received(std::size_t count) {
    last().iov_len += count;
    room_ -= count;
    missing_ -= count;
  }

  // Valid while it stays where it is.
  std::span<const iovec> vectors() const {
    if (!many_.empty()) return many_;
    return {few_.data(), vector_count_};
  }
  // What was taken for it from the budget.
  std::size_t budget_bytes() const { return budget_bytes_; }

 private:
  // Parts end on what direct I/O may ask for, when the whole begins on it. The first piece is no shorter.
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

  // Most have one piece, which needs no memory for bookkeeping.
  aio::Buffer copy_;  // of what was held
  aio::Buffer first_piece_;
  std::vector<aio::Buffer> further_pieces_;
  std::array<iovec, 2> few_{};
  std::vector<iovec> many_;  // all vectors, when they are more than few_ has room for
  std::size_t vector_count_ = 0;
  std::size_t missing_ = 0;
  std::size_t held_bytes_ = 0;
  std::size_t room_ = 0;
  std::size_t bounce_bytes_ = 0;
  std::size_t budget_bytes_ = 0;
  std::size_t written_bytes_ = 0;
  bool active_ = false;
  bool is_split_ = false;
};

}  // namespace blockexport::nbd
