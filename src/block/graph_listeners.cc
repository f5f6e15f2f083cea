// Steps of a change that add and remove listeners of a node's changes.
#include "block/graph_change.h"

namespace blockexport::block {

class Graph::Listening final : public Graph::Work {
 public:
  enum class Action : bool { kRemove, kAdd };

  Listening(std::string name, ChangeListener& listener, Action action)
      : name_(std::move(name)), listener_(listener), action_(action) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(node_, change.graph().lookup(name_));
    Node* const nodes[] = {node_};
    co_await change.quiesce_above(nodes);
    listen(action_ == Action::kAdd);
    co_return Result<>();
  }

  aio::Task<void> abort(Change&) override {
    listen(action_ != Action::kAdd);
    co_return;
  }

 private:
  void listen(bool add) { add ? node_->add_listener(listener_) : node_->remove_listener(listener_); }

  std::string name_;
  ChangeListener& listener_;
  Action action_;
  Node* node_ = nullptr;
};

std::unique_ptr<Graph::Work> Graph::work_of(AddListener step) {
  return std::make_unique<Listening>(std::move(step.name), *step.listener, Listening::Action::kAdd);
}

std::unique_ptr<Graph::Work> Graph::work_of(RemoveListener step) {
  return std::make_unique<Listening>(std::move(step.name), *step.listener, Listening::Action::kRemove);
}

}  // namespace blockexport::block
