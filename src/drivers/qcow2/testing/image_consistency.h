// check_consistency(): compares the refcounts of a qcow2 image in memory with the references in its tables. A second
// opinion beside the check that the daemon has, small enough to be right, for images without snapshots and bitmaps.
//
// For tests. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace blockexport::drivers::qcow2 {

struct Consistency {
  std::vector<std::string> corruptions;  // at most a few
  std::uint64_t leaks = 0;               // clusters that are counted and not referenced
};

Consistency check_consistency(std::span<const std::byte> image);

}  // namespace blockexport::drivers::qcow2
