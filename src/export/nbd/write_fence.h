// WriteFence: what keeps a write that a lost connection left behind from landing on top of a newer one.
//
// One per export. When a connection is lost while writes of its are under way, it raises the fence until they have
// ended; a request that arrives meanwhile, on any connection to the export, does not start before the fence is down.
// So whatever the dead connection still writes is on disk before anything newer is (founding rule 2).
// Thread: the reactor of the export's sessions.
#pragma once

#include <cstdint>

#include "aio/sync.h"

namespace blockexport::nbd {

class WriteFence {
 public:
  explicit WriteFence(aio::Reactor& reactor) : down_(reactor) { down_.set(); }

  bool is_up() const { return raised_ > 0; }

  // Each raise() is matched by one lower(), by the connection that was lost.
  void raise() {
    ++raised_;
    down_.reset();
  }
  void lower() {
    if (--raised_ == 0) down_.set();
  }

  // Waits until it is down; ECANCELED when the task was cancelled.
  aio::Event::Wait wait_until_down() { return down_.wait(); }

 private:
  std::uint32_t raised_ = 0;
  aio::Event down_;
};

}  // namespace blockexport::nbd
