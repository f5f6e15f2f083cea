// ReopenChildren: how a driver that is being reopened gets children that it did not have, and gives up others.
//
// Children that the driver keeps are moved to the nodes of the new options before the driver is asked. Implemented by
// the graph; valid until Driver::prepare_reopen() has ended. Thread: the control reactor.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "block/child_roles.h"

namespace blockexport::schema {
struct BlockdevRef;
}

namespace blockexport::block {

class Edge;

class ReopenChildren {
 public:
  // The node that `reference` names, as a further child of this name: the name of the schema's member, static text. It
  // fails when there is no such node, when `reference` defines a new one, or when a cycle would result. From now on the
  // driver lists the edge among its children; it destroys the edge if the reopen fails, here or later.
  virtual Result<std::unique_ptr<Edge>> add_child(const schema::BlockdevRef& reference, std::string_view name,
                                                  ChildRoles roles) = 0;
  // Parts one of the driver's children from its node. From now on the driver lists it no more, and destroys it in
  // commit_reopen(); if the reopen fails, here or later, it lists it again, and it is a child as before.
  virtual void drop_child(Edge& edge) = 0;
  // Name of the node that is being reopened, for messages.
  virtual const std::string& node_name() const = 0;

 protected:
  ~ReopenChildren() = default;
};

}  // namespace blockexport::block
