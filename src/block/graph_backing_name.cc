// The step of a change that gives an image another name of its backing file.
#include <fmt/format.h>

#include "block/chain.h"
#include "block/graph_change.h"

namespace blockexport::block {

class Graph::BackingRenaming final : public Graph::Work {
 public:
  explicit BackingRenaming(RenameBacking step) : step_(std::move(step)) {}

  bool must_be_last() const override { return true; }

  aio::Task<Result<>> prepare(Change& change) override {
    Node* top = change.graph().find(step_.top);
    if (top == nullptr) {
      co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", step_.top, step_.top));
    }
    CO_TRY_ASSIGN(node_, change.graph().lookup(step_.name));
    if (backing_node(*node_) == nullptr)
      co_return fail("not allowing backing file change on an image without a backing file");
    Node* found = top;
    while (found != nullptr && found != node_) found = next_in_chain(*found);
    if (found == nullptr) co_return fail(fmt::format("'{}' and image file are not in the same chain", step_.top));
    right_ = std::make_unique<Edge>(*node_, EdgeParent{.name = "root", .description = std::string(kUnnamedUser)},
                                    Permissions{.used = Permission::kConsistentRead | Permission::kWrite});
    change.note_changed(*node_);
    co_return Result<>();
  }

  aio::Task<Result<>> perform(Change& change) override {
    Node* const changed[] = {node_};
    co_await change.quiesce_above(changed);
    Node& shown = below_filters(*backing_node(*node_));
    // A node that has its bytes from no other node has no format.
    const std::string_view format = image_node(shown) == nullptr ? "raw" : shown.driver().format_name();
    const IoResult result = co_await node_->driver().change_backing_name(step_.backing_name, format);
    if (result) co_return Result<>();
    co_return fail(
        Error::system(fmt::format("Could not change backing file to '{}'", step_.backing_name), result.error()));
  }

  aio::Task<void> commit(Change& change) override {
    give_up_right(change);
    // Only releases the permission to write, which cannot fail.
    auto update = PermissionUpdate::plan({.nodes = {node_}});
    if (update && co_await (*update)->prepare()) co_await (*update)->commit();
  }

  aio::Task<void> abort(Change& change) override {
    give_up_right(change);
    co_return;
  }

 private:
  void give_up_right(Change& change) {
    change.forget_edge(*right_);
    right_.reset();
  }

  RenameBacking step_;
  Node* node_ = nullptr;
  std::unique_ptr<Edge> right_;
};

std::unique_ptr<Graph::Work> Graph::work_of(RenameBacking step) {
  return std::make_unique<BackingRenaming>(std::move(step));
}

}  // namespace blockexport::block
