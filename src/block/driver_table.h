// DriverTable: interface through which the graph opens drivers. Implemented in drivers/, a higher layer.
//
// Owned by the daemon; outlives the Graph. Thread: the control reactor.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/driver.h"
#include "block/edge.h"

namespace blockexport::schema {
struct BlockdevRef;
}

namespace blockexport::block {

class DirtyBitmap;

// Interface through which a driver that is being opened gets its children.
class ChildOpener {
 public:
  // Returns an edge to the node that `reference` names, or to a new node with the options that it holds. `name` is that
  // of the child in the schema, static text. The new node lives as long as an edge leads to it.
  virtual aio::Task<Result<std::unique_ptr<Edge>>> open_child(const schema::BlockdevRef& reference,
                                                              std::string_view name, ChildRoles roles) = 0;
  // A dirty bitmap of a node of the graph; valid until the task awaits something.
  virtual Result<const DirtyBitmap*> find_bitmap(const std::string& node, const std::string& name) = 0;

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
