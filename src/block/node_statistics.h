// Counters of a node's requests since it was made: NodeCounters for its requests on one reactor, NodeCounterSets for
// one node, and NodeStatistics, the sum, for query-blockstats and the metrics.
//
// Only the thread of the reactor stores, and any thread may sum; counters that are read together need not be
// consistent. Owned by the Node.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/errno.h"
#include "base/owned_counter.h"

namespace blockexport::block {

// Reactors with counters of their own in one node. Further ones share a set, and may then lose counts.
inline constexpr std::size_t kCounterSetsMax = 256;

// Counters of one verb on one reactor.
struct VerbCounters {
  OwnedCounter operations;
  OwnedCounter failed;
  OwnedCounter bytes;
  OwnedCounter total_time_ns;

  // Counts a request of `bytes` bytes that ended with `result` after `elapsed_ns`, or `requests` of them that were
  // served as one. A failed request counts no bytes.
  void count(std::uint64_t count_bytes, const IoResult& result, std::uint64_t elapsed_ns, std::uint32_t requests = 1) {
    if (result) {
      operations.add(requests);
      bytes.add(count_bytes);
    } else {
      failed.add(requests);
    }
    total_time_ns.add(elapsed_ns);
  }
};

struct NodeCounters {
  VerbCounters read;
  VerbCounters write;
  VerbCounters write_zeroes;
  VerbCounters discard;
  VerbCounters flush;
  OwnedCounter highest_written_offset;

  void raise_highest_written_offset(std::uint64_t end) {
    if (highest_written_offset.load() < end) highest_written_offset.set(end);
  }
};

// Sum of the counters of one verb.
class VerbStatistics {
 public:
  void add(const VerbCounters& counted);
  std::uint64_t operations() const { return operations_; }
  std::uint64_t failed() const { return failed_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t total_time_ns() const { return total_time_ns_; }

 private:
  std::uint64_t operations_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t total_time_ns_ = 0;
};

struct NodeStatistics {
  VerbStatistics read;
  VerbStatistics write;
  VerbStatistics write_zeroes;
  VerbStatistics discard;
  VerbStatistics flush;
  std::uint64_t highest_written_offset = 0;  // one past the highest byte ever written

  void add(const NodeCounters& counted);
};

class NodeCounterSets {
 public:
  NodeCounterSets() = default;
  ~NodeCounterSets();
  NodeCounterSets(const NodeCounterSets&) = delete;
  NodeCounterSets& operator=(const NodeCounterSets&) = delete;

  // The set of the reactor that `reactor` identifies, on whose thread the call is made. The set lives as long as this
  // object; a later reactor with the same address takes it over.
  NodeCounters& on(const void* reactor) {
    for (Set* one = newest_.load(std::memory_order_acquire); one != nullptr; one = one->next) {
      if (one->reactor == reactor) return one->counters;
    }
    return add(reactor);
  }
  // Any thread.
  NodeStatistics sum() const;

 private:
  // The list is read by all reactors, so it has cache lines of its own.
  struct Set {
    const void* const reactor;
    Set* next = nullptr;
    alignas(kCacheLineBytes) NodeCounters counters = {};
  };

  NodeCounters& add(const void* reactor);

  std::atomic<Set*> newest_ = nullptr;
  std::atomic<std::size_t> count_ = 0;
  alignas(kCacheLineBytes) NodeCounters shared_;  // of the reactors above kCounterSetsMax
};

// Counters of host files only, which their driver keeps.
struct FileStatistics {
  std::atomic<std::uint64_t> discards_succeeded = 0;
  std::atomic<std::uint64_t> discards_failed = 0;
  std::atomic<std::uint64_t> discarded_bytes = 0;
};

}  // namespace blockexport::block
