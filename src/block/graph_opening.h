// Graph::Opening: how one driver that is being opened gets its children. Lives in the frame that opens the driver.
//
// Thread: the control reactor.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "block/graph_new_nodes.h"

namespace blockexport::block {

class Graph::Opening final : public ChildOpener {
 public:
  // `parent_name` and `parent`: of the node whose driver is being opened. `place`: null unless an image names it.
  Opening(NewNodes& nodes, std::string parent_name, const NodeOptions& parent, const OpeningPlace* place)
      : nodes_(nodes), parent_name_(std::move(parent_name)), parent_(parent), place_(place) {}

  aio::Task<Result<std::unique_ptr<Edge>>> open_child(const schema::BlockdevRef& reference, std::string_view name,
                                                      ChildRoles roles) override;
  aio::Task<Result<std::unique_ptr<Edge>>> open_named_child(ImageReference reference, const Edge& file,
                                                            ChildRoles roles) override;
  bool is_named_by_image() const override { return place_ != nullptr; }
  Result<const DirtyBitmap*> find_bitmap(const std::string& node_name, const std::string& name) override;

 private:
  std::unique_ptr<Edge> edge_to(Node& node, std::string_view name, ChildRoles roles) const;
  aio::Task<Result<Node*>> open_name(ImageReference reference, const Edge& file, ChildRoles roles);

  NewNodes& nodes_;
  std::string parent_name_;
  const NodeOptions& parent_;
  const OpeningPlace* place_;
};

// Options of a node that an image names must not reach what this daemon has for others.
Result<> check_named_options(const schema::BlockdevOptions& options);
// Fails when `driver` has opened a file that contains an image above it.
Result<> check_named_file(const Driver& driver, const OpeningPlace& place);

}  // namespace blockexport::block
