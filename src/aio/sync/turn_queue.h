// TurnQueue: rate limiter that resumes its waiting tasks one per turn of the event loop.
//
// For work that unauthenticated peers can request without limit, split into pieces: however many peers request it, all
// other work of the loop waits for at most one piece. Its owner keeps it until no task waits. Thread: its reactor's. A
// waiter costs only a coroutine frame.
#pragma once

#include "aio/sync/sync.h"

namespace blockexport::aio {

class TurnQueue {
 public:
  explicit TurnQueue(Reactor& reactor) : mutex_(reactor) {}

  // Waits until all earlier callers have had their turn, and the loop has then run all other ready work once. The
  // caller's piece is the code up to its next wait. ECANCELED when the task was cancelled before.
  Task<IoResult> turn();

 private:
  Mutex mutex_;
};

}  // namespace blockexport::aio
