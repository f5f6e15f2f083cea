// MetadataClusters: the host clusters that hold metadata of an open image, which guest data must never overwrite.
//
// A wrong entry in a damaged or hostile image could send a write there, or an allocation could hand such a cluster out.
// Thread: contains_fixed() on any; everything else under the lock of ImageTables.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

namespace blockexport::drivers::qcow2 {

class MetadataClusters {
 public:
  // Clusters [first, first + count), while the image is opened. Call settle() after the last.
  void add_fixed(std::uint64_t first, std::uint64_t count);
  void settle();

  // True if one of these clusters was metadata when the image was opened. If so, contains() tells whether it still is.
  bool contains_fixed(std::uint64_t first, std::uint64_t count) const;

  // Metadata that was made since then, and that is no more.
  void add(std::uint64_t cluster) { added_.insert(cluster); }
  void remove(std::uint64_t cluster);
  bool contains(std::uint64_t first, std::uint64_t count) const;

 private:
  struct Clusters {
    std::uint64_t first;
    std::uint64_t end;
  };
  std::vector<Clusters> fixed_;  // in ascending order, with gaps between them
  std::set<std::uint64_t> added_;
  std::set<std::uint64_t> removed_;  // of fixed_, which readers search without a lock
};

}  // namespace blockexport::drivers::qcow2
