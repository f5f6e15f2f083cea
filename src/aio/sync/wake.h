// wake(): sets an event of a task that may wait on another reactor. The event lives until its task continues.
// Thread: that of `reactor`.
#pragma once

#include "aio/reactor/reactor.h"
#include "aio/sync/sync.h"

namespace blockexport::aio {

inline void wake(Reactor& reactor, Event& event) {
  if (&event.reactor() == &reactor) {
    event.set();
  } else {
    event.reactor().post([&event] { event.set(); });
  }
}

}  // namespace blockexport::aio
