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
#include "block/image_reference.h"

namespace blockexport::schema {
struct BlockdevOptions;
struct BlockdevRef;
}  // namespace blockexport::schema

namespace blockexport::block {

class DirtyBitmap;

// Interface through which a driver that is being opened gets its children.
class ChildOpener {
 public:
  // Returns an edge to the node that `reference` names, or to a new node with the options that it holds. `name` is that
  // of the child in the schema, static text. The new node lives as long as an edge leads to it.
  virtual aio::Task<Result<std::unique_ptr<Edge>>> open_child(const schema::BlockdevRef& reference,
                                                              std::string_view name, ChildRoles roles) = 0;
  // Opens the child that the image's header names, and returns an edge to it: a new anonymous node of the image's
  // format over the node of its file. It inherits the options that an inline child of the same roles would inherit.
  // `file`: the edge to the child that contains the header; a relative name is relative to the directory of its host
  // file. The child's name in the schema is that of the kind: "backing" or "data-file". The driver calls this only when
  // its options leave that child out, and lists the edge among its children like any other. The errors are for users.
  virtual aio::Task<Result<std::unique_ptr<Edge>>> open_named_child(ImageReference reference, const Edge& file,
                                                                    ChildRoles roles) = 0;
  // True if the node is being opened because an image names it, or names a node above it: then its options are
  // untrusted.
  virtual bool is_named_by_image() const = 0;
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
  // The options of the node that a name inside an image stands for. `image_path`: path of the host file that contains
  // the image; empty when there is none, and then a relative name is an error. The default refuses all names.
  virtual aio::Task<Result<schema::BlockdevOptions>> resolve(ImageReference reference, std::string image_path);
};

}  // namespace blockexport::block
