// Steps of a change that attach and detach root edges.
#include <fmt/format.h>

#include "block/attached_store.h"
#include "block/graph_change.h"
#include "block/loaded_bitmaps.h"
#include "block/node_store.h"

namespace blockexport::block {

class Graph::Attachment final : public Graph::Work {
 public:
  explicit Attachment(AttachEdge step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    if (change.graph().closing_) co_return fail(closing_error());
    CO_TRY_ASSIGN(Node * node, change.graph().lookup(step_.name));
    edge_ = std::make_unique<Edge>(*node, std::move(step_.parent), step_.permissions);
    change.note_changed(*node);
    co_return Result<>();
  }

  aio::Task<void> commit(Change&) override {
    *step_.attached = std::move(edge_);
    co_return;
  }

  aio::Task<void> abort(Change& change) override {
    change.forget_edge(*edge_);
    edge_.reset();
    co_return;
  }

 private:
  AttachEdge step_;
  std::unique_ptr<Edge> edge_;
};

class Graph::ReferenceAttachment final : public Graph::Work {
 public:
  explicit ReferenceAttachment(AttachReference step) : step_(std::move(step)) {}

  bool opens_before(Graph& graph) const override {
    const schema::BlockdevOptions* definition = step_.reference.definition();
    return !graph.closing_ && definition != nullptr && !refers_to_nodes(*definition);
  }

  aio::Task<Result<>> open(Graph& graph) override {
    nodes_.emplace(graph);
    CO_TRY(co_await nodes_->open(*step_.reference.definition(), nullptr, nullptr));
    co_return Result<>();
  }

  aio::Task<Result<>> prepare(Change& change) override {
    if (change.graph().closing_) co_return fail(closing_error());
    CO_TRY_ASSIGN(Node * node, co_await find_or_open(change));
    edge_ = std::make_unique<Edge>(*node, std::move(step_.parent), step_.permissions);
    change.note_deeper(*node);
    co_return Result<>();
  }

  aio::Task<Result<>> confirm(Change&) override {
    for (Node* node : new_nodes_) CO_TRY(co_await confirm_store(*node, node->read_only()));
    co_return Result<>();
  }

  aio::Task<void> commit(Change& change) override {
    for (NodeStore* store : stores_) store->start();
    for (Node* node : new_nodes_) co_await begin_using_image_bitmaps(*node, change.graph().log_);
    *step_.attached = std::move(edge_);
    co_return;
  }

  aio::Task<void> abort(Change& change) override {
    change.forget_edge(*edge_);
    edge_.reset();
    co_return;
  }

 private:
  aio::Task<Result<Node*>> find_or_open(Change& change) {
    if (const std::string* name = step_.reference.reference()) {
      if (Node* node = change.graph().find(*name)) co_return node;
      co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", *name, *name));
    }
    if (!nodes_) CO_TRY(co_await open(change.graph()));
    Node* node = nodes_->nodes().back().node.get();
    for (const GraphNode& one : nodes_->nodes()) {
      new_nodes_.push_back(one.node.get());
      if (NodeStore* store = one.node->bitmaps().store()) stores_.push_back(store);
    }
    change.add_nodes(*nodes_);
    co_return node;
  }

  AttachReference step_;
  std::optional<NewNodes> nodes_;
  std::vector<NodeStore*> stores_;
  std::vector<Node*> new_nodes_;
  std::unique_ptr<Edge> edge_;
};

class Graph::Detachment final : public Graph::Work {
 public:
  explicit Detachment(DetachEdge step) : step_(step) {}

  aio::Task<Result<>> prepare(Change& change) override {
    Edge& edge = **step_.edge;
    change.withdraw_edge(edge);
    co_await change.withdraw_if_unused(edge.node());
    co_return Result<>();
  }

  aio::Task<void> commit(Change& change) override {
    change.forget_edge(**step_.edge);
    step_.edge->reset();
    co_return;
  }

 private:
  DetachEdge step_;
};

std::unique_ptr<Graph::Work> Graph::work_of(AttachEdge step) {
  return std::make_unique<Attachment>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(AttachReference step) {
  return std::make_unique<ReferenceAttachment>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(DetachEdge step) {
  return std::make_unique<Detachment>(step);
}

}  // namespace blockexport::block
