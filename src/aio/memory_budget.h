// MemoryBudget: how many bytes of buffers may be in use, for the process and, below it, for each connection.
//
// A child takes from its parent too, beyond a small allowance that every connection has for itself, so that a client
// with small requests is served even when others have used up the process's share. Who waits tries again whenever
// memory is given back, in the order of waiting. Thread: one reactor's.
#pragma once

#include <cstdint>

#include "aio/sync.h"

namespace blockexport::aio {

class MemoryBudget {
 public:
  static constexpr std::uint64_t kProcessBytesDefault = 1u << 30;
  static constexpr std::uint64_t kConnectionBytesDefault = 64u << 20;
  static constexpr std::uint64_t kConnectionAllowanceBytes = 256u << 10;

  // The process's.
  MemoryBudget(Reactor& reactor, std::uint64_t limit_bytes);
  // A connection's, below `parent`, which outlives it. All was given back when it dies.
  explicit MemoryBudget(MemoryBudget& parent, std::uint64_t limit_bytes = kConnectionBytesDefault);
  ~MemoryBudget();
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  bool try_take(std::uint64_t bytes);
  // Waits until there is room. ECANCELED: nothing was taken; ENOMEM: it is more than there can ever be.
  Task<IoResult> take(std::uint64_t bytes);
  // Takes more than the limit allows; what a started request needs for its reply.
  void take_over_limit(std::uint64_t bytes);
  void give_back(std::uint64_t bytes);

  std::uint64_t used_bytes() const { return used_; }
  // Of a connection: whether it holds some of the process's share, and whether anyone waits for that.
  bool holds_shared() const { return shared_part(used_) > 0; }
  bool is_shared_wanted() const { return parent_ != nullptr && parent_->waiting_ > 0; }

 private:
  // What of `used` bytes counts against the parent.
  static std::uint64_t shared_part(std::uint64_t used) {
    return used > kConnectionAllowanceBytes ? used - kConnectionAllowanceBytes : 0;
  }
  bool fits(std::uint64_t bytes) const;
  void charge(std::uint64_t bytes);

  MemoryBudget* parent_ = nullptr;
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
  std::uint32_t waiting_ = 0;            // takers that wait for room_
  std::uint32_t waiting_at_parent_ = 0;  // our takers that wait for the parent's
  Event room_;
};

}  // namespace blockexport::aio
