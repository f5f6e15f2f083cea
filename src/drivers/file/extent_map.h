// ExtentMap: which parts of a file are known to hold data and which to be holes; of the rest nothing is known.
//
// A pure data structure of bounded size: what is farthest from where it was used last is forgotten first. Neighbouring
// runs are kept together in leaves, so that a run takes eight bytes and to walk over thousands is to walk over arrays.
// Owned by an ExtentCache. Thread: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "aio/file_map.h"
#include "block/io.h"

namespace blockexport::drivers {

class ExtentMap {
 public:
  struct Sizes {
    std::size_t bytes_max = 8u << 20;  // about a million runs
    std::size_t leaf_runs_max = 512;
  };

  ExtentMap() = default;
  explicit ExtentMap(Sizes sizes) : sizes_(sizes) {}

  // Appends what is known from the range's first byte on, up to its end, the first unknown byte, or
  // kExtentsPerCallMax runs. Appends nothing when the first byte is not known.
  void find(block::Range range, block::Extents& extents) const;

  // Learns these runs, which begin at `offset`, and forgets what it knew of their place. kZeros is not knowledge.
  void store(std::uint64_t offset, std::span<const aio::FileRun> runs);

  void forget(block::Range range);
  void clear();

  bool empty() const { return leaves_.empty(); }
  // Memory in use, about; never above Sizes::bytes_max.
  std::size_t bytes() const { return run_count_ * sizeof(Run) + leaves_.size() * kLeafBytes; }

 private:
  // What a leaf takes beside its runs.
  static constexpr std::size_t kLeafBytes = 128;

  // Where a run begins, and whether it holds data, in one word. It ends where the next one begins.
  class Run {
   public:
    Run(std::uint64_t start, bool data) : word_(start << 1 | (data ? 1 : 0)) {}
    std::uint64_t start() const { return word_ >> 1; }
    bool data() const { return (word_ & 1) != 0; }

   private:
    std::uint64_t word_;
  };

  // Runs without a gap; at least one.
  struct Leaf {
    std::uint64_t end = 0;
    std::vector<Run> runs;
  };
  using Leaves = std::map<std::uint64_t, Leaf>;  // by where they begin

  // The run of `leaf` that holds `offset`.
  static std::size_t run_at(const Leaf& leaf, std::uint64_t offset);
  static void give_back_room(Leaf& leaf);
  void add(Leaf leaf);
  Leaves::iterator remove(Leaves::iterator leaf);
  // Takes [range) out of a leaf that it touches: up to two rests stay. The leaf behind them.
  Leaves::iterator cut(Leaves::iterator leaf, block::Range range);
  void shrink(std::uint64_t near);

  Sizes sizes_;
  Leaves leaves_;
  std::size_t run_count_ = 0;
};

}  // namespace blockexport::drivers
