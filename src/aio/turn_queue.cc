#include "aio/turn_queue.h"

#include "aio/current.h"

namespace blockexport::aio {

// The next one is woken when the caller goes on, which is a turn before it goes on itself.
Task<IoResult> TurnQueue::turn() {
  auto held = co_await mutex_.lock();
  if (!held) co_return fail(held.error());
  co_await next_turn();
  // Neither of the two sees it when nobody else waits.
  if ((co_await current_task()).cancelled) co_return fail(ECANCELED);
  co_return IoResult{};
}

}  // namespace blockexport::aio
