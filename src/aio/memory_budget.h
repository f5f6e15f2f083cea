// MemoryBudget: how many bytes of buffers may be in use, for the process and, below it, for each connection.
//
// A child takes from its parent too, beyond a small allowance that every connection has for itself, so that a client
// with small requests is served even when others have used up the process's share. Who has to wait is served in the
// order of waiting, at its connection first and then at the process, so that large requests are not starved by small
// ones. Thread: one reactor's.
#pragma once

#include <cstdint>

#include "aio/sync.h"

namespace blockexport::aio {

class MemoryBudget {
 public:
  static constexpr std::uint64_t kProcessBytesDefault = 1u << 30;
  static constexpr std::uint64_t kConnectionBytesDefault = 64u << 20;
  static constexpr std::uint64_t kConnectionAllowanceBytes = 512u << 10;

  // The process's.
  MemoryBudget(Reactor& reactor, std::uint64_t limit_bytes);
  // A connection's, below `parent`, which outlives it. All was given back when it dies.
  explicit MemoryBudget(MemoryBudget& parent, std::uint64_t limit_bytes = kConnectionBytesDefault);
  ~MemoryBudget();
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // False when there is no room, or when others wait for it.
  bool try_take(std::uint64_t bytes);
  // Waits until there is room. ECANCELED or, for more than the limit, ENOMEM: nothing was taken.
  Task<IoResult> take(std::uint64_t bytes);
  // Takes more than the limit allows; what a started request needs for its reply.
  void take_over_limit(std::uint64_t bytes);
  void give_back(std::uint64_t bytes);

  std::uint64_t used_bytes() const { return used_; }

 private:
  // What of `used` bytes counts against the parent.
  static std::uint64_t shared_part(std::uint64_t used) {
    return used > kConnectionAllowanceBytes ? used - kConnectionAllowanceBytes : 0;
  }
  bool has_room(std::uint64_t bytes) const { return bytes <= limit_ && used_ <= limit_ - bytes; }
  // What `bytes` more would take of the parent's.
  std::uint64_t more_shared(std::uint64_t bytes) const;
  bool parent_has_room(std::uint64_t bytes) const;
  bool can_ever_give(std::uint64_t bytes) const;
  void charge(std::uint64_t bytes);
  Event::Wait more_room();

  MemoryBudget* parent_ = nullptr;
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
  Mutex turn_;  // held by who waits for room
  Event room_;
};

}  // namespace blockexport::aio
