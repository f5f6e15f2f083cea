// wake(): sets an event of a task that may wait on another reactor than ours. The event lives until its task goes on.
// Thread: a task's of `reactor`.
#pragma once

#include "aio/reactor.h"
#include "aio/sync.h"

namespace blockexport::drivers {

inline void wake(aio::Reactor& reactor, aio::Event& event) {
  if (&event.reactor() == &reactor) {
    event.set();
  } else {
    event.reactor().post([&event] { event.set(); });
  }
}

}  // namespace blockexport::drivers
