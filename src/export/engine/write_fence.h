// WriteFence: what keeps a write that a lost connection left behind from landing on top of a newer one.
//
// One per export. When a connection is lost while writes of its are under way, it raises the fence until they have
// ended; a request that arrives meanwhile, on any other connection to the export, does not start before the fence is
// down. A newcomer is served only after every reactor has acknowledged that it raised the fence for connections that
// were lost before, those included whose requests and end still wait to be received (client_list.h). So whatever the
// dead connection still writes is on disk before anything newer is. What remains outside of it: a client that was
// connected all the while and learns of the other's death from elsewhere may write before the server has noticed that
// death. Thread: any; who waits is woken on its own reactor.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "aio/shared_event.h"

namespace blockexport::exports {

class WriteFence {
 public:
  bool is_up() const { return raised_.load() > 0; }
  // Whether it is up by more than the `own_raises` of the connection that asks.
  bool is_up_beside(std::uint32_t own_raises) const { return raised_.load() > own_raises; }

  // Each raise() is matched by one lower(), by the connection that was lost.
  void raise() {
    std::lock_guard guard(mutex_);
    down_.reset();
    ++raised_;
  }
  void lower() {
    std::lock_guard guard(mutex_);
    if (--raised_ == 0) down_.set();
  }

  // Waits until it is down; ECANCELED when the task was cancelled.
  aio::Task<IoResult> wait_until_down() { return down_.wait(); }

 private:
  std::mutex mutex_;  // guards the changes of both
  std::atomic<std::uint32_t> raised_ = 0;
  aio::SharedEvent down_{aio::SharedEvent::State::kSet};
};

}  // namespace blockexport::exports
