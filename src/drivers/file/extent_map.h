// ExtentMap: which parts of a file are known to hold data and which to be holes; of the rest nothing is known.
//
// A pure data structure of bounded size: what is farthest from where it was used last is forgotten first. Neighbouring
// runs are kept together in leaves, so that a run takes eight bytes and to walk over thousands is to walk over arrays.
// All holes can be forgotten at once, with the data between them kept: a leaf knows the generation that its holes are
// of. Owned by an ExtentCache. Thread: one at a time.
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

  enum class Holes : bool { kDoubted, kProven };
  // Learns these runs, which begin at `offset`, and forgets what it knew of their place. kZeros is not knowledge, nor
  // is kHole when `holes` are doubted. How many bytes more of their place are known than were before.
  std::uint64_t store(std::uint64_t offset, std::span<const aio::FileRun> runs, Holes holes);

  void forget(block::Range range);
  // From now on no hole is known; data are as before. In constant time: a hole's run stays where it is until something
  // else is learnt of its place.
  void forget_holes() { ++generation_; }
  void clear();

  // How many bytes of `range` are known.
  std::uint64_t known_bytes(block::Range range) const;

  // That it is not says little when holes were forgotten.
  bool empty() const { return leaves_.empty(); }
  // Memory in use, about; never above Sizes::bytes_max.
  std::size_t bytes() const { return run_count_ * sizeof(Run) + leaves_.size() * kLeafBytes; }

 private:
  // What a leaf takes beside its runs.
  static constexpr std::size_t kLeafBytes = 128;
  // Of holes that were never known.
  static constexpr std::uint64_t kDoubtedGeneration = 0;

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
    std::uint64_t generation = 0;  // its holes are known when this is generation_
    std::vector<Run> runs;

    std::uint64_t end_of(std::size_t run) const { return run + 1 < runs.size() ? runs[run + 1].start() : end; }
  };
  using Leaves = std::map<std::uint64_t, Leaf>;  // by where they begin

  // The run of `leaf` that holds `offset`.
  static std::size_t run_at(const Leaf& leaf, std::uint64_t offset);
  bool is_known(const Leaf& leaf, Run run) const { return run.data() || leaf.generation == generation_; }
  void add_leaves(std::uint64_t offset, std::span<const aio::FileRun> runs, Holes holes);
  static void give_back_room(Leaf& leaf);
  void add(Leaf leaf);
  Leaves::iterator remove(Leaves::iterator leaf);
  // Takes [range) out of a leaf that it touches: up to two rests stay. The leaf behind them.
  Leaves::iterator cut(Leaves::iterator leaf, block::Range range);
  void shrink(std::uint64_t near);

  Sizes sizes_;
  Leaves leaves_;
  std::size_t run_count_ = 0;
  std::uint64_t generation_ = kDoubtedGeneration + 1;
};

}  // namespace blockexport::drivers
