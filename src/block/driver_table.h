// DriverTable: how the graph opens drivers without knowing one. Implemented above, in drivers/.
//
// Owned by the daemon; outlives the Graph. Thread: the control reactor.
#pragma once

#include <memory>
#include <string_view>

#include "aio/task.h"
#include "base/error.h"
#include "block/driver.h"
#include "block/edge.h"

namespace blockexport::schema {
struct BlockdevRef;
}

namespace blockexport::block {

// What a driver that is being opened asks for its children.
class ChildOpener {
 public:
  // The node that `reference` names, or a new one made of the options that it holds, as the child of this name: the
  // name of the schema's member, static text. The new node lives as long as an edge leads to it.
  virtual aio::Task<Result<std::unique_ptr<Edge>>> open_child(const schema::BlockdevRef& reference,
                                                              std::string_view name, ChildRoles roles) = 0;

 protected:
  ~ChildOpener() = default;
};

class DriverTable {
 public:
  virtual ~DriverTable() = default;
  // `options` and `children` live until the task ends.
  virtual aio::Task<Result<std::unique_ptr<Driver>>> open(const schema::BlockdevOptions& options,
                                                          const NodeOptions& node_options, ChildOpener& children) = 0;
};

}  // namespace blockexport::block
