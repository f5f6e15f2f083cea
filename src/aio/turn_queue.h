// TurnQueue: the tasks that wait in it go on one after the other, each in another turn of the loop.
//
// For work that strangers can ask for without end, cut into pieces: however many of them ask, all else that the loop
// has to do waits for one piece at most. Owned by whoever shares the loop out; outlives its waiters. Thread: its
// reactor's. Never allocates for who waits but a coroutine's frame.
#pragma once

#include "aio/sync.h"

namespace blockexport::aio {

class TurnQueue {
 public:
  explicit TurnQueue(Reactor& reactor) : mutex_(reactor) {}

  // Waits until all that came before have had their turn, and the loop has looked at everything else once more. What
  // the caller does before it waits for anything is its piece. ECANCELED when the task was cancelled before.
  Task<IoResult> turn();

 private:
  Mutex mutex_;
};

}  // namespace blockexport::aio
