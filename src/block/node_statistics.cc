#include "block/node_statistics.h"

#include <utility>

namespace blockexport::block {

void VerbStatistics::add(const VerbCounters& counted) {
  operations_ += counted.operations.load();
  failed_ += counted.failed.load();
  bytes_ += counted.bytes.load();
  total_time_ns_ += counted.total_time_ns.load();
}

void NodeStatistics::add(const NodeCounters& counted) {
  read.add(counted.read);
  write.add(counted.write);
  write_zeroes.add(counted.write_zeroes);
  discard.add(counted.discard);
  flush.add(counted.flush);
  highest_written_offset = std::max(highest_written_offset, counted.highest_written_offset.load());
}

NodeCounterSets::~NodeCounterSets() {
  for (const Set* one = newest_.load(std::memory_order_acquire); one != nullptr;) {
    delete std::exchange(one, one->next);
  }
}

NodeCounters& NodeCounterSets::add(const void* reactor) {
  if (count_.fetch_add(1, std::memory_order_relaxed) >= kCounterSetsMax) {
    count_.fetch_sub(1, std::memory_order_relaxed);
    return shared_;
  }
  Set* added = new Set{.reactor = reactor, .next = newest_.load(std::memory_order_relaxed)};
  while (!newest_.compare_exchange_weak(added->next, added, std::memory_order_release, std::memory_order_relaxed)) {
  }
  return added->counters;
}

NodeStatistics NodeCounterSets::sum() const {
  NodeStatistics all;
  all.add(shared_);
  for (const Set* one = newest_.load(std::memory_order_acquire); one != nullptr; one = one->next) {
    all.add(one->counters);
  }
  return all;
}

}  // namespace blockexport::block
