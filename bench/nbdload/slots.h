// Slots: table of the requests in flight on one connection, with checks of their replies.
//
// The low half of the cookie is the slot's index; the high half is a counter, which detects replies to finished
// requests. Thread: one owner. No allocation after construction.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/pattern.h"
#include "nbdload/options.h"
#include "nbdload/tally.h"
#include "nbdload/workload.h"

namespace blockexport::bench {

struct Slot {
  Request request;
  uint64_t cookie = 0;
  uint64_t sent_ns = 0;
  uint64_t received = 0;
  bool busy = false;
  bool check_whole = false;
  bool failed = false;
};

class Slots {
 public:
  Slots(const Options& options, const Pattern& pattern, Tally& tally);

  unsigned busy() const { return busy_; }
  bool full() const { return free_.empty(); }

  // Takes a free slot (there must be one) for `request`, sent at `now_ns`.
  const Slot& open(const Request& request, uint64_t now_ns);

  // The slot of `cookie`, or null when no such request is in flight.
  Slot* find(uint64_t cookie);

  // Counts a piece of read data, and compares it with the pattern.
  void take_data(Slot& slot, uint64_t offset, std::span<const std::byte> data);
  void take_hole(Slot& slot, uint64_t offset, uint64_t length);
  void take_error(Slot& slot, uint32_t error);

  // The reply is complete: frees the slot and counts the operation.
  void close(Slot& slot, uint64_t now_ns);

 private:
  const Options& options_;
  const Pattern& pattern_;
  Tally& tally_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  unsigned busy_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace blockexport::bench
