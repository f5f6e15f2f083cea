// NodeStatistics: counters of a node's requests since it was made, for query-blockstats.
//
// Owned by its Node. Any thread may count and read; counters that are read together need not be consistent.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/errno.h"

namespace blockexport::block {

// Counters of one verb.
class VerbStatistics {
 public:
  // Counts a request of `bytes` bytes that ended with `result` after `elapsed_ns`, or `requests` of them that were
  // served as one. A failed request counts no bytes.
  void count(std::uint64_t bytes, const IoResult& result, std::uint64_t elapsed_ns, std::uint32_t requests = 1) {
    if (result) {
      operations_.fetch_add(requests, std::memory_order_relaxed);
      bytes_.fetch_add(bytes, std::memory_order_relaxed);
    } else {
      failed_.fetch_add(requests, std::memory_order_relaxed);
    }
    total_time_ns_.fetch_add(elapsed_ns, std::memory_order_relaxed);
  }

  std::uint64_t operations() const { return operations_.load(std::memory_order_relaxed); }
  std::uint64_t failed() const { return failed_.load(std::memory_order_relaxed); }
  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  std::uint64_t total_time_ns() const { return total_time_ns_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> operations_ = 0;
  std::atomic<std::uint64_t> failed_ = 0;
  std::atomic<std::uint64_t> bytes_ = 0;
  std::atomic<std::uint64_t> total_time_ns_ = 0;
};

struct NodeStatistics {
  VerbStatistics read;
  VerbStatistics write;
  VerbStatistics write_zeroes;
  VerbStatistics discard;
  VerbStatistics flush;

  // One past the highest byte ever written.
  std::uint64_t highest_written_offset() const { return highest_written_offset_.load(std::memory_order_relaxed); }
  void raise_highest_written_offset(std::uint64_t end) {
    std::uint64_t seen = highest_written_offset();
    while (seen < end && !highest_written_offset_.compare_exchange_weak(seen, end, std::memory_order_relaxed)) {
    }
  }

 private:
  std::atomic<std::uint64_t> highest_written_offset_ = 0;
};

// Counters of host files only, which their driver keeps.
struct FileStatistics {
  std::atomic<std::uint64_t> discards_succeeded = 0;
  std::atomic<std::uint64_t> discards_failed = 0;
  std::atomic<std::uint64_t> discarded_bytes = 0;
};

}  // namespace blockexport::block
