// NodeOpener: gives a driver that is being opened edges to nodes of a test, by their names. It refuses the children
// that images name, with an error that tells the kind, the name and the format.
//
// Borrows the nodes. Thread: the test's.
#pragma once

#include <string>

#include "block/driver_table.h"
#include "block/node.h"
#include "schema/block_core.h"

namespace blockexport::drivers::qcow2 {

class NodeOpener final : public block::ChildOpener {
 public:
  explicit NodeOpener(std::vector<block::Node*> nodes) : nodes_(std::move(nodes)) {}

  aio::Task<Result<std::unique_ptr<block::Edge>>> open_child(const schema::BlockdevRef& reference,
                                                             std::string_view name, block::ChildRoles roles) override {
    for (block::Node* node : nodes_) {
      if (reference.reference() == nullptr || node->name() != *reference.reference()) continue;
      co_return std::make_unique<block::Edge>(
          *node, block::EdgeParent{.name = std::string(name), .description = "a test", .roles = roles},
          block::Permissions{});
    }
    co_return fail("no such node");
  }
  aio::Task<Result<std::unique_ptr<block::Edge>>> open_named_child(block::ImageReference reference, const block::Edge&,
                                                                   block::ChildRoles) override {
    const char* kind = reference.kind == block::ReferenceKind::kBacking ? "backing file" : "data file";
    co_return fail(std::string("named ") + kind + " " + reference.name + " " + reference.format);
  }
  bool is_named_by_image() const override { return false; }
  Result<const block::DirtyBitmap*> find_bitmap(const std::string&, const std::string&) override {
    return fail("no such bitmap");
  }

 private:
  std::vector<block::Node*> nodes_;
};

}  // namespace blockexport::drivers::qcow2
