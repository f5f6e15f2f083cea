// DataReactor: a reactor with the state that its clients share: a scope for their tasks, and a pool of buffers.
//
// Constructed and destroyed on the reactor's thread, by its owner: a ReactorThread, or the daemon for the control
// reactor. Other threads may only post to `reactor`; the control reactor's thread also owns `client_count`.
#pragma once

#include "aio/memory/buffer_pool.h"
#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"

namespace blockexport::aio {

struct DataReactor {
  explicit DataReactor(Reactor& on) : reactor(on), scope(on) { reactor.use_pool(&pool); }
  ~DataReactor() { reactor.use_pool(nullptr); }
  DataReactor(const DataReactor&) = delete;
  DataReactor& operator=(const DataReactor&) = delete;

  Reactor& reactor;
  Scope scope;
  BufferPool pool;
  // Number of clients assigned to this reactor (reactor_pool.h). Used by the control reactor's thread only.
  std::uint32_t client_count = 0;
};

// Runs `task` on the reactor `there` and waits for its end on the caller's; when both are the same it is a plain await.
// Not cancellable. `name` is static text, the name of the task. Objects to which the task refers outlive the await; its
// frame is destroyed when the await ends.
Task<void> run_on(DataReactor& there, const char* name, Task<void> task);
// The same for a reactor `there` with a scope of the caller's, which outlives the await.
Task<void> run_on(Reactor& there, Scope& scope, const char* name, Task<void> task);

}  // namespace blockexport::aio
