// HoldingDriver: a driver that makes requests wait on its own, as a throttle does, and lets them go when a change of
// the graph waits for their end.
//
// Owned by its Node. Thread: the control reactor, while requests are under way on any reactor.
#pragma once

#include "block/driver.h"

namespace blockexport::block {

class Node;

class HoldingDriver : public LiveDriver {
 public:
  // Lets those requests go that wait, and those that come until end_drain(). Called in pairs, which may overlap.
  virtual void begin_drain() = 0;
  virtual void end_drain() = 0;
};

// The driver as one that holds requests; null: it is none. The schema has one such driver, "throttle".
inline HoldingDriver* as_holding(Driver& driver) {
  return driver.format_name() == "throttle" ? static_cast<HoldingDriver*>(&driver) : nullptr;
}

// Lets the requests go that wait now in `node` and in what stands below it.
void let_held_requests_go(Node& node);

}  // namespace blockexport::block
