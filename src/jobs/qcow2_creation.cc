#include "jobs/qcow2_creation.h"

#include <fmt/format.h>

namespace blockexport::jobs {
namespace {

using block::Permission;

block::EdgeParent parent() {
  return {.name = "root", .description = std::string(block::kUnnamedUser)};
}

}  // namespace

aio::Task<Result<>> Qcow2CreationWork::run(JobSteps& steps) {
  steps.expect(1);
  Result<> created = co_await create(steps);
  steps.finish_progress();
  co_return created;
}

aio::Task<void> Qcow2CreationWork::clean() {
  while (!edges_.empty()) {
    std::unique_ptr<block::Edge> edge = std::move(edges_.back());
    edges_.pop_back();
    co_await graph_.detach(std::move(edge));
  }
}

aio::Task<Result<>> Qcow2CreationWork::create(JobSteps& steps) {
  CO_TRY_ASSIGN(const std::string file, co_await open(std::move(file_)));
  CO_TRY(drivers::qcow2::check_creation(creation_));
  std::string data_file;
  if (data_file_) {
    CO_TRY_ASSIGN(data_file, co_await open(std::move(*data_file_)));
  }
  CO_TRY(drivers::qcow2::check_sizes(creation_));
  drivers::qcow2::ImageFiles files;
  CO_TRY_ASSIGN(files.file, co_await take(file));
  if (data_file_) {
    CO_TRY_ASSIGN(files.data_file_name, co_await prepare_data_file(data_file));
    CO_TRY_ASSIGN(files.data_file, co_await take(data_file));
  }
  co_return co_await drivers::qcow2::create_image(creation_, std::move(files), steps);
}

aio::Task<Result<std::string>> Qcow2CreationWork::open(schema::BlockdevRef reference) {
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> edge, co_await graph_.attach(std::move(reference), parent(), {}));
  std::string name = edge->node().name();
  edges_.push_back(std::move(edge));
  co_return name;
}

// Nobody else may write or resize the node: the format's driver, too, allows no other writer.
aio::Task<Result<block::Edge*>> Qcow2CreationWork::take(std::string node_name) {
  const block::Permissions permissions{.used = Permission::kConsistentRead | Permission::kWrite | Permission::kResize,
                                       .shared = Permission::kConsistentRead | Permission::kWriteUnchanged};
  CO_TRY_ASSIGN(std::unique_ptr<block::Edge> edge, co_await graph_.attach(std::move(node_name), parent(), permissions));
  edges_.push_back(std::move(edge));
  co_return edges_.back().get();
}

// Without preallocation the data file gets the size of the image, whatever it had; otherwise create_image() makes it
// longer if need be.
aio::Task<Result<std::string>> Qcow2CreationWork::prepare_data_file(const std::string& node_name) {
  CO_TRY_ASSIGN(block::Node * node, graph_.lookup(node_name));
  std::string name = node->driver().filename();
  if (name.empty()) co_return fail(fmt::format("The data file '{}' has no file name", node_name));
  if (node->read_only()) co_return fail("Block node is read-only");
  if (drivers::qcow2::preallocation_of(creation_) == drivers::qcow2::Preallocation::kOff) {
    Result<> resized = co_await graph_.resize(node_name, static_cast<std::int64_t>(creation_.size_bytes));
    if (!resized) co_return fail(std::move(resized).error().with_prefix(drivers::qcow2::kResizeFailed));
  }
  co_return name;
}

}  // namespace blockexport::jobs
