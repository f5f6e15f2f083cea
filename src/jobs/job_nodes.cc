#include "jobs/job_nodes.h"

namespace blockexport::jobs {
namespace {

using block::Permission;

block::EdgeParent parent() {
  return {.name = "root", .description = std::string(block::kUnnamedUser)};
}

}  // namespace

aio::Task<Result<std::string>> JobNodes::open(schema::BlockdevRef reference) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> edge, co_await graph_.attach(std::move(reference), parent(), {}));
  std::string name = edge->node().name();
  edges_.push_back(std::move(edge));
  co_return name;
}

aio::Task<Result<block::Edge*>> JobNodes::keep(std::string node_name) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> edge, co_await graph_.attach(std::move(node_name), parent(), {}));
  edges_.push_back(std::move(edge));
  co_return edges_.back().get();
}

// A format's driver, too, allows no other writer.
aio::Task<Result<block::Edge*>> JobNodes::take(std::string node_name) {
  const block::Permissions permissions{.used = Permission::kConsistentRead | Permission::kWrite | Permission::kResize,
                                       .shared = Permission::kConsistentRead | Permission::kWriteUnchanged};
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> edge, co_await graph_.attach(std::move(node_name), parent(), permissions));
  edges_.push_back(std::move(edge));
  co_return edges_.back().get();
}

aio::Task<void> JobNodes::release() {
  while (!edges_.empty()) {
    std::unique_ptr<block::Edge> edge = std::move(edges_.back());
    edges_.pop_back();
    co_await graph_.detach(std::move(edge));
  }
}

}  // namespace blockexport::jobs
