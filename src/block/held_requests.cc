#include "block/held_requests.h"

#include "block/edge.h"
#include "block/node.h"

namespace blockexport::block {

void let_held_requests_go(Node& node) {
  if (HeldRequests* held = node.driver().held_requests()) {
    held->begin_drain();
    held->end_drain();
  }
  for (Edge* child : node.driver().children()) let_held_requests_go(child->node());
}

}  // namespace blockexport::block
