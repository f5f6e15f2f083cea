#include "aio/time_limit.h"

#include <utility>

#include "aio/reactor.h"
#include "aio/scope.h"
#include "aio/sync.h"

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

}  // namespace

Task<bool> run_within(Reactor& reactor, const char* name, std::uint64_t deadline_ns, Task<void> work) {
  bool has_ended = false;
  bool is_late = false;
  Event over(reactor);
  Scope worker(reactor);
  Scope timer(reactor);
  worker.spawn(name, run_and_notify(std::move(work), has_ended, over));
  if (!has_ended && deadline_ns != UINT64_MAX)
    timer.spawn("time limit", notify_at(reactor, deadline_ns, is_late, over));
  // The result is ignored: if the caller was cancelled, the work is cancelled below.
  if (!has_ended) (void)co_await over.wait();
  const bool was_cut = !has_ended && is_late;
  worker.cancel();
  co_await worker.join();
  timer.cancel();
  co_await timer.join();
  co_return was_cut;
}

std::uint64_t deadline_after(const Reactor& reactor, std::uint64_t limit_ns) {
  const std::uint64_t now_ns = reactor.now_ns();
  return limit_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + limit_ns;
}

}  // namespace blockexport::aio
