// VariableChildren: the children of a driver that gets further ones and gives some up while it is open, such as the
// copies of a quorum node.
//
// Owned by the driver, which implements it. Each call that changes something has an inverse, so that a change of the
// graph can undo them in reverse order. Thread: the control reactor, while no verb of the driver is under way. Errors
// are for users.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/error.h"

namespace blockexport::block {

class Edge;
class Node;

class VariableChildren {
 public:
  // Name of the next child, as "children.2". Fails if the driver takes no further child now.
  virtual Result<std::string> next_child_name() const = 0;
  // Fails if the node cannot be a child, for example because of its size.
  virtual Result<> check_new_child(const Node& node) const = 0;
  // Fails if the driver can do with no child less.
  virtual Result<> check_removal() const = 0;

  // Adds a child of that name after all others. The inverse is take_child().
  virtual void add_child(std::unique_ptr<Edge> edge) = 0;
  // Gives up a child of the driver, and the ownership of it. The inverse is return_child() with the same place.
  struct Taken {
    std::unique_ptr<Edge> edge;
    std::size_t place = 0;  // number of the children before it
  };
  virtual Taken take_child(const Edge& edge) = 0;
  virtual void return_child(Taken taken) = 0;

 protected:
  ~VariableChildren() = default;
};

}  // namespace blockexport::block
