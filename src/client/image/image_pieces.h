// ImagePieces: divides a disk into pieces, which several tasks take one by one.
//
// A task that finds a long run of zeroes takes the pieces within it off the list, so that empty parts of a disk cost
// one query. Thread: the main thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "block/range.h"

namespace blockexport::image {

class ImagePieces {
 public:
  // Pieces of `piece_bytes`, from 0 to `end`. The last one may be shorter.
  ImagePieces(std::uint64_t end, std::uint64_t piece_bytes) : end_(end), piece_bytes_(piece_bytes) {}

  bool is_empty() const { return next_ >= end_; }
  // The next piece; there is one.
  block::Range take() {
    const block::Range piece{next_, std::min(piece_bytes_, end_ - next_)};
    next_ += piece.length;
    return piece;
  }
  // Takes the pieces that lie before `offset` as a whole. Others may have taken some of them.
  void skip_to(std::uint64_t offset) {
    const std::uint64_t whole = offset >= end_ ? end_ : offset - offset % piece_bytes_;
    next_ = std::max(next_, whole);
  }
  // Takes all of them.
  void skip_all() { next_ = end_; }
  // Bytes in front of the pieces that nobody has taken.
  std::uint64_t taken_bytes() const { return next_; }
  std::uint64_t end() const { return end_; }

 private:
  std::uint64_t end_;
  std::uint64_t piece_bytes_;
  std::uint64_t next_ = 0;
};

}  // namespace blockexport::image
