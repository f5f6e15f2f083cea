#include "drivers/qcow2/commit/freed_clusters.h"

#include <algorithm>
#include <utility>

namespace blockexport::drivers::qcow2 {

void FreedClusters::add(FreedRun run) {
  // A discard of a long range frees clusters one after the other. What a commit has begun with stays apart.
  if (uncommitted_.size() > in_commit_) {
    FreedRun& last = uncommitted_.back();
    if (last.discard == run.discard && last.clusters.first + last.clusters.count == run.clusters.first) {
      last.clusters.count += run.clusters.count;
      return;
    }
  }
  uncommitted_.push_back(run);
}

void FreedClusters::end_commit(std::uint64_t epoch) {
  const auto end = uncommitted_.begin() + static_cast<std::ptrdiff_t>(in_commit_);
  for (auto run = uncommitted_.begin(); run != end; ++run) committed_.push_back({*run, epoch});
  uncommitted_.erase(uncommitted_.begin(), end);
  in_commit_ = 0;
}

std::vector<FreedRun> FreedClusters::take_unused(const ClusterPins& pins) {
  std::vector<FreedRun> taken = std::exchange(unused_, {});
  const auto waits = [&pins](const Committed& committed) { return !pins.has_passed(committed.epoch); };
  const auto first_waiting = std::ranges::find_if(committed_, waits);
  for (auto at = committed_.begin(); at != first_waiting; ++at) taken.push_back(at->run);
  committed_.erase(committed_.begin(), first_waiting);
  return taken;
}

}  // namespace blockexport::drivers::qcow2
