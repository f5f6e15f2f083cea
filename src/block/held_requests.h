// HeldRequests: requests that a driver makes wait on its own, as a throttle does.
//
// A change of the graph waits until all requests have ended, and lets those that are held go first. Owned by the
// driver. Thread: the control reactor, while requests are under way on any reactor.
#pragma once

namespace blockexport::block {

class Node;

class HeldRequests {
 public:
  // Lets those requests go that wait, and those that come until end_drain(). Called in pairs, which may overlap.
  virtual void begin_drain() = 0;
  virtual void end_drain() = 0;

 protected:
  ~HeldRequests() = default;
};

// Lets the requests go that wait now in `node` and in the nodes below it.
void let_held_requests_go(Node& node);

}  // namespace blockexport::block
