// RequestGate: gate that requests of several reactors pass, and that the control reactor can close.
//
// Requests enter and leave with one atomic step each; close() waits until all have left, and new ones wait until the
// gate is open again. Thread: enter(), try_enter() and leave() on any reactor; close() and open() on one (the control
// reactor).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "aio/sync/shared_event.h"
#include "aio/task/task.h"
#include "base/errno.h"

namespace blockexport::block {

class RequestGate {
 public:
  RequestGate() = default;
  ~RequestGate();
  RequestGate(const RequestGate&) = delete;
  RequestGate& operator=(const RequestGate&) = delete;

  bool is_open() const { return (state_.load(std::memory_order_acquire) & kClosed) == 0; }
  // True: the request is inside, and must leave().
  bool try_enter();
  // Waits while the gate is closed. After ECANCELED the request is not inside.
  aio::Task<IoResult> enter();
  void leave();

  // Closes the gate, and waits until no request is inside. May be nested; each close() needs an open().
  aio::Task<void> close();
  void open();

 private:
  // state_: the number of requests inside, and this bit while closed.
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;

  std::atomic<std::uint64_t> state_ = 0;
  std::mutex mutex_;  // guards changes of all members below
  std::uint32_t closes_ = 0;
  aio::SharedEvent opened_{aio::SharedEvent::State::kSet};
  aio::SharedEvent drained_{aio::SharedEvent::State::kSet, aio::Event::Cancellation::kIgnored};
};

}  // namespace blockexport::block
