// FreedClusters: host clusters that no table in memory refers to any more, until they may be used again.
//
// Three things have to happen first: a commit writes the tables without them, so that no table in the image refers to
// them; all requests end that looked them up before; their refcounts decrease. Owned by the image's Allocator.
// Thread: any, under the lock of ImageTables.
#pragma once

#include <cstdint>
#include <vector>

#include "drivers/qcow2/refcounts/refcounts.h"
#include "drivers/qcow2/tables/cluster_pins.h"

namespace blockexport::drivers::qcow2 {

struct FreedRun {
  HostClusters clusters;
  bool discard = false;  // pass a discard to the file before they are used again
};

class FreedClusters {
 public:
  void add(FreedRun run);

  // A commit that writes the present tables begins; it has ended, all that was freed before it began is in the image.
  void begin_commit() { in_commit_ = uncommitted_.size(); }
  void end_commit(std::uint64_t epoch);

  // Takes the runs that nothing uses any more, whose refcounts are to decrease.
  std::vector<FreedRun> take_unused(const ClusterPins& pins);
  // Puts back a run whose refcounts could not be decreased.
  void put_back(const FreedRun& run) { unused_.push_back(run); }

  bool empty() const { return uncommitted_.empty() && committed_.empty() && unused_.empty(); }
  bool has_uncommitted() const { return !uncommitted_.empty(); }
  std::size_t runs() const { return uncommitted_.size() + committed_.size() + unused_.size(); }

 private:
  struct Committed {
    FreedRun run;
    std::uint64_t epoch = 0;
  };
  std::vector<FreedRun> uncommitted_;
  std::size_t in_commit_ = 0;         // the first of uncommitted_
  std::vector<Committed> committed_;  // in ascending order of their epochs
  std::vector<FreedRun> unused_;
};

}  // namespace blockexport::drivers::qcow2
