// The file driver over every backend, simulated files among them: random verbs against a model, faults, a power cut.
#include <deque>

#include "aio/scope.h"
#include "aio/testing/backends.h"
#include "block/testing/node_model.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

class FileBackendsTest : public aio::testing::ForEachBackend {
 protected:
  // A node over a new file of this size; the path is kept for looking at the file behind its back.
  std::unique_ptr<block::Node> make_node(std::size_t size_bytes) {
    path_ = make_file(std::string(size_bytes, '\0'));
    std::unique_ptr<block::Node> node;
    run(open_node(path_, node));
    return node;
  }

  static aio::Task<void> open_node(std::string path, std::unique_ptr<block::Node>& node) {
    auto driver = co_await FileDriver::open({.filename = path, .locking = FileLocking::kOff});
    if (!driver) {
      ADD_FAILURE() << driver.error().message();
      co_return;
    }
    node = std::make_unique<block::Node>("disk", std::move(*driver),
                                         block::NodeOptions{.discard = block::DiscardMode::kUnmap});
  }

  static aio::Task<void> write_text(block::Node& node, std::uint64_t offset, std::string text, IoResult& result) {
    iovec data{.iov_base = text.data(), .iov_len = text.size()};
    result = co_await node.write({offset, text.size()}, {&data, 1}, {});
  }

  static aio::Task<void> flush(block::Node& node, IoResult& result) { result = co_await node.flush(); }

  std::string path_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(FileBackendsTest);

aio::Task<void> run_models(std::deque<block::NodeModel>& models) {
  aio::Scope scope(co_await aio::current_reactor());
  for (block::NodeModel& model : models) scope.spawn("model", model.run(60));
  co_await scope.join();
}

TEST_P(FileBackendsTest, HoldsWhatWasWritten) {
  for (std::uint64_t seed = 1; seed <= 5 && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::unique_ptr<block::Node> node = make_node(64 << 10);
    ASSERT_NE(node, nullptr);
    std::deque<block::NodeModel> models;
    for (std::uint64_t part = 0; part < 4; ++part) {
      models.emplace_back(*node, block::Range{part * 16'384, 16'384}, seed * 100 + part);
    }
    run(run_models(models));
  }
}

// Only a simulated disk fails on demand, and only a simulated host loses its power.
class SimulatedFileTest : public FileBackendsTest {};
INSTANTIATE_TEST_SUITE_P(Simulation, SimulatedFileTest, ::testing::Values("simulation"));

TEST_P(SimulatedFileTest, AWriteThatTheDiskRefusesIsAnErrorAndTheNextOneWorks) {
  std::unique_ptr<block::Node> node = make_node(8192);
  simulation().inject({.kind = aio::OperationKind::kWrite, .error = ENOSPC, .count = 1});
  IoResult result;
  run(write_text(*node, 0, "lost", result));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error(), Errno(ENOSPC));
  simulation().clear_faults();
  run(write_text(*node, 0, "kept", result));
  EXPECT_TRUE(result.has_value());
  EXPECT_EQ(content_of(path_).substr(0, 4), "kept");
}

TEST_P(SimulatedFileTest, WhatWasFlushedOutlivesAPowerCut) {
  std::unique_ptr<block::Node> node = make_node(8192);
  IoResult result;
  run(write_text(*node, 100, "durable", result));
  ASSERT_TRUE(result.has_value());
  run(flush(*node, result));
  ASSERT_TRUE(result.has_value());
  simulation().power_cut();
  EXPECT_EQ(content_of(path_).substr(100, 7), "durable");
}

}  // namespace
}  // namespace blockexport::drivers
