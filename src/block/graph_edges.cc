// Steps of a change that attach and detach root edges.
#include "block/graph_change.h"

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

std::unique_ptr<Graph::Work> Graph::work_of(DetachEdge step) {
  return std::make_unique<Detachment>(step);
}

}  // namespace blockexport::block
