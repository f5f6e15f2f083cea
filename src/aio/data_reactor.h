// DataReactor: a reactor and what those whom it serves share: a scope for their tasks, and a pool of buffers.
//
// Made and destroyed on the reactor's thread, by whoever owns that: a ReactorThread, or the daemon for the control
// reactor. Other threads may name `reactor` to post to it, and touch nothing else here but what is said to be theirs.
#pragma once

#include "aio/buffer_pool.h"
#include "aio/reactor.h"
#include "aio/scope.h"

namespace blockexport::aio {

struct DataReactor {
  explicit DataReactor(Reactor& on) : reactor(on), scope(on) { reactor.use_pool(&pool); }
  ~DataReactor() { reactor.use_pool(nullptr); }
  DataReactor(const DataReactor&) = delete;
  DataReactor& operator=(const DataReactor&) = delete;

  Reactor& reactor;
  Scope scope;
  BufferPool pool;
  // Clients that are served here: the control reactor's count, by which it chooses (reactor_pool.h).
  std::uint32_t seats_taken = 0;
};

// Runs `task` there, and waits here for its end; on this very reactor that is a plain await. Not cancellable. `name` is
// static text, the task's name there. What the task refers to outlives the await; its frame is gone at the end.
Task<void> run_on(DataReactor& there, const char* name, Task<void> task);

}  // namespace blockexport::aio
