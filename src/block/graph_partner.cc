// Steps of a change that a larger change of the control plane needs: a node that gives its name to another one, and a
// partner that takes part in the decision.
#include "block/graph_change.h"

namespace blockexport::block {

class Graph::Retirement final : public Graph::Work {
 public:
  explicit Retirement(RetireNode step) : step_(std::move(step)) {}

  aio::Task<Result<>> prepare(Change& change) override {
    CO_TRY_ASSIGN(Node * node, change.graph().lookup(step_.name));
    change.release_name(*node);
    change.set_owned_by_user(*node, false);
    co_await change.withdraw_if_unused(*node);
    co_return Result<>();
  }

 private:
  RetireNode step_;
};

class Graph::Partnership final : public Graph::Work {
 public:
  explicit Partnership(CallPartner step) : step_(step) {}

  bool must_be_last() const override { return true; }

  aio::Task<Result<>> prepare(Change&) override { co_return Result<>(); }
  aio::Task<Result<>> perform(Change&) override { co_return step_.partner->decide(); }
  aio::Task<void> commit(Change&) override {
    step_.partner->commit();
    co_return;
  }

 private:
  CallPartner step_;
};

std::unique_ptr<Graph::Work> Graph::work_of(RetireNode step) {
  return std::make_unique<Retirement>(std::move(step));
}

std::unique_ptr<Graph::Work> Graph::work_of(CallPartner step) {
  return std::make_unique<Partnership>(step);
}

}  // namespace blockexport::block
