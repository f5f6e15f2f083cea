#include "aio/sync/turn_queue.h"

#include "aio/task/current.h"

namespace blockexport::aio {

// The lock is released when the caller resumes; the next waiter gets it one turn later, and its caller resumes one turn
// after that.
Task<IoResult> TurnQueue::turn() {
  auto held = co_await mutex_.lock();
  if (!held) co_return fail(held.error());
  co_await next_turn();
  // Neither wait above reports a cancellation when nobody else waits.
  if ((co_await current_task()).cancelled) co_return fail(ECANCELED);
  co_return IoResult{};
}

}  // namespace blockexport::aio
