// ExtentMap: map of the parts of a file that are known to be data or holes. Bytes outside of its runs are unknown.
//
// A pure data structure of bounded size: it evicts first the runs farthest from the range that was stored last.
// Neighbouring runs are stored together in leaves, so a run takes eight bytes and a walk over thousands of runs reads
// arrays. forget_holes() drops all holes at once and keeps the data between them: each leaf stores the generation of
// its holes. Owned by an ExtentCache. Thread: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "aio/operation/file_map.h"
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

  // Appends the known extents from the range's first byte on, up to the end of the range, the first unknown byte, or
  // kExtentsPerCallMax runs. Appends nothing when the first byte is unknown.
  void find(block::Range range, block::Extents& extents) const;

  enum class Holes : bool { kDoubted, kProven };
  // Replaces the content of the map from `offset` on by these runs. A run of kZeros becomes unknown, as does a kHole
  // when `holes` are doubted. Returns how many bytes became known, less those that were known before.
  std::uint64_t store(std::uint64_t offset, std::span<const aio::FileRun> runs, Holes holes);

  void forget(block::Range range);
  // Makes all holes unknown and keeps the data. Constant time: the run of a hole stays in its leaf until store()
  // replaces it.
  void forget_holes() { ++generation_; }
  void clear();

  // The number of bytes of `range` that are known.
  std::uint64_t known_bytes(block::Range range) const;

  // False does not prove that the file has data: the leaves may hold only holes that forget_holes() made unknown.
  bool empty() const { return leaves_.empty(); }
  // Approximate memory in use; never above Sizes::bytes_max.
  std::size_t bytes() const { return run_count_ * sizeof(Run) + leaves_.size() * kLeafBytes; }

 private:
  // Memory of a leaf besides its runs.
  static constexpr std::size_t kLeafBytes = 128;
  // Generation of a leaf whose holes were doubted when they were stored.
  static constexpr std::uint64_t kDoubtedGeneration = 0;

  // The start of a run and its kind (data or hole) in one word. A run ends where the next one begins.
  class Run {
   public:
    Run(std::uint64_t start, bool data) : word_(start << 1 | (data ? 1 : 0)) {}
    std::uint64_t start() const { return word_ >> 1; }
    bool data() const { return (word_ & 1) != 0; }

   private:
    std::uint64_t word_;
  };

  // At least one run; there are no gaps between the runs.
  struct Leaf {
    std::uint64_t end = 0;
    std::uint64_t generation = 0;  // its holes are known while this equals the map's generation_
    std::vector<Run> runs;

    std::uint64_t end_of(std::size_t run) const { return run + 1 < runs.size() ? runs[run + 1].start() : end; }
  };
  using Leaves = std::map<std::uint64_t, Leaf>;  // by start offset

  // The run of `leaf` that holds `offset`.
  static std::size_t run_at(const Leaf& leaf, std::uint64_t offset);
  bool is_known(const Leaf& leaf, Run run) const { return run.data() || leaf.generation == generation_; }
  void add_leaves(std::uint64_t offset, std::span<const aio::FileRun> runs, Holes holes);
  static void trim_capacity(Leaf& leaf);
  void add(Leaf leaf);
  Leaves::iterator remove(Leaves::iterator leaf);
  // Removes `range` from a leaf that it touches; the parts before and behind the range stay. Returns the next leaf.
  Leaves::iterator cut(Leaves::iterator leaf, block::Range range);
  void shrink(std::uint64_t near);

  Sizes sizes_;
  Leaves leaves_;
  std::size_t run_count_ = 0;
  std::uint64_t generation_ = kDoubtedGeneration + 1;
};

}  // namespace blockexport::drivers
