#include "aio/sync/with_deadline.h"

#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/task/current.h"

namespace blockexport::aio {
namespace {

Task<void> run_and_notify(Task<void> work, bool& has_ended, Event& over) {
  co_await std::move(work);
  has_ended = true;
  over.set();
}

Task<void> notify_at(Reactor& reactor, std::uint64_t deadline_ns, bool& is_late, Event& over) {
  if (!co_await reactor.sleep_until(deadline_ns)) co_return;
  is_late = true;
  over.set();
}

Task<IoResult> wait_for(Event& event) {
  co_return co_await event.wait();
}

}  // namespace

std::uint64_t deadline_after(const Reactor& reactor, std::uint64_t limit_ns) {
  const std::uint64_t now_ns = reactor.now_ns();
  return limit_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + limit_ns;
}

Task<bool> with_deadline(const char* name, std::uint64_t deadline_ns, Task<void> work) {
  Reactor& reactor = co_await current_reactor();
  bool has_ended = false;
  bool is_late = false;
  Event over(reactor);
  Scope worker(reactor);
  Scope timer(reactor);
  worker.spawn(name, run_and_notify(std::move(work), has_ended, over));
  if (!has_ended && deadline_ns != UINT64_MAX) timer.spawn("deadline", notify_at(reactor, deadline_ns, is_late, over));
  // The result is ignored: if the caller was cancelled, the work is cancelled below.
  if (!has_ended) (void)co_await over.wait();
  const bool was_cut = !has_ended && is_late;
  worker.cancel();
  co_await worker.join();
  timer.cancel();
  co_await timer.join();
  co_return was_cut;
}

Task<IoResult> with_deadline(const char* name, std::uint64_t deadline_ns, Event& event) {
  Task<IoResult> waiting = wait_for(event);
  auto [waited, is_late] = co_await with_deadline(name, deadline_ns, std::move(waiting));
  if (is_late && !waited) co_return fail(ETIMEDOUT);
  co_return waited;
}

}  // namespace blockexport::aio
