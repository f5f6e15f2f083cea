// TablePieces: reads a table of words from the file of an image, piece by piece, each in a turn of its own.
//
// One owner, a task of the check; borrows the file's node. Any reactor.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "aio/task/task.h"
#include "base/errno.h"
#include "block/node.h"

namespace blockexport::drivers::qcow2 {

class TablePieces {
 public:
  // `bytes` from `offset` on, below 2^63 together. It ends at the end of the file, behind which all words are 0.
  TablePieces(block::Node& file, std::uint64_t offset, std::uint64_t bytes)
      : file_(file), offset_(offset), end_(bytes) {}

  // Reads the next piece; false: there is none.
  aio::Task<std::expected<bool, Errno>> next();

  // The piece, a multiple of 16 bytes except at the end of the table.
  std::span<std::byte> piece() { return piece_; }
  std::uint64_t piece_offset() const { return offset_ + piece_begin_; }  // in the file
  std::uint64_t first_word() const { return piece_begin_ / 8; }          // number of its first word in the table

 private:
  block::Node& file_;
  std::uint64_t offset_;
  std::uint64_t end_;
  std::uint64_t piece_begin_ = 0;
  std::uint64_t next_begin_ = 0;
  std::vector<std::byte> piece_;
};

}  // namespace blockexport::drivers::qcow2
