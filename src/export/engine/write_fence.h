// WriteFence: keeps late writes of a lost connection from overwriting newer writes.
//
// One per export. When a connection is lost while writes of it are under way, it raises the fence until they have
// ended; a request that arrives meanwhile, on any other connection to the export, does not start before the fence is
// down. A new client is served only after every reactor has acknowledged that it raised the fence for the connections
// that were lost before, including those whose requests and end are still in the socket (client_list.h). So every late
// write of the lost connection is in storage before any newer one. The fence does not cover one case: a client that was
// connected all the time and learns of the other client's end by another way may write before the server has noticed
// that end. Thread: any; each waiting task is woken on its own reactor.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "aio/sync/shared_event.h"

namespace blockexport::exports {

class WriteFence {
 public:
  bool is_up() const { return raised_.load() > 0; }
  // True if the fence is up because of connections other than the caller, which has raised it `own_raises` times.
  bool is_up_beside(std::uint32_t own_raises) const { return raised_.load() > own_raises; }

  // The lost connection matches each raise() by one lower().
  void raise() {
    std::lock_guard guard(mutex_);
    down_.reset();
    ++raised_;
  }
  void lower() {
    std::lock_guard guard(mutex_);
    if (--raised_ == 0) down_.set();
  }

  // Waits until the fence is down; ECANCELED when the task was cancelled.
  aio::Task<IoResult> wait_until_down() { return down_.wait(); }

 private:
  std::mutex mutex_;  // guards changes of both members below
  std::atomic<std::uint32_t> raised_ = 0;
  aio::SharedEvent down_{aio::SharedEvent::State::kSet};
};

}  // namespace blockexport::exports
