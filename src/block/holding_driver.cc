#include "block/holding_driver.h"

#include "block/edge.h"
#include "block/node.h"

namespace blockexport::block {

void let_held_requests_go(Node& node) {
  if (HoldingDriver* driver = as_holding(node.driver())) {
    driver->begin_drain();
    driver->end_drain();
  }
  for (Edge* child : node.driver().children()) let_held_requests_go(child->node());
}

}  // namespace blockexport::block
