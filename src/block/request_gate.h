// RequestGate: a door that requests of several reactors go through.
//
// They enter and leave with one atomic step each; who closes it waits until all have left, and new ones wait
// outside until it opens. enter(), try_enter() and leave() on any reactor; close() and open() on one (the control
// reactor).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "aio/shared_event.h"
#include "aio/task.h"
#include "base/errno.h"

namespace blockexport::block {

class RequestGate {
 public:
  RequestGate() = default;
  ~RequestGate();
  RequestGate(const RequestGate&) = delete;
  RequestGate& operator=(const RequestGate&) = delete;

  bool is_open() const { return (state_.load(std::memory_order_acquire) & kClosed) == 0; }
  // True: inside, and leave() is owed.
  bool try_enter();
  // Waits while it is closed. ECANCELED: not inside.
  aio::Task<IoResult> enter();
  void leave();

  // Closes, and waits until nobody is inside. May be nested; each close() has its open().
  aio::Task<void> close();
  void open();

 private:
  // state_: the count of those inside, and this bit while closed.
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;

  std::atomic<std::uint64_t> state_ = 0;
  std::mutex mutex_;  // guards the changes of all below
  std::uint32_t closes_ = 0;
  aio::SharedEvent opened_{aio::SharedEvent::State::kSet};
  aio::SharedEvent drained_{aio::SharedEvent::State::kSet, aio::Event::Cancellation::kIgnored};
};

}  // namespace blockexport::block
