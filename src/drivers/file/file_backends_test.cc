// The file driver over every backend, simulated files among them: random verbs against a model, faults, a power cut.
#include <deque>

#include "aio/sync/scope.h"
#include "aio/testing/backends.h"
#include "block/testing/node_model.h"
#include "drivers/file/file_driver.h"

namespace blockexport::drivers {
namespace {

class FileBackendsTest : public aio::testing::ForEachBackend {
 protected:
  // A node over a new file of this size. `path_` lets a test look at the file without the node.
  std::unique_ptr<block::Node> make_node(std::size_t size_bytes) {
    path_ = make_file(std::string(size_bytes, '\0'));
    std::unique_ptr<block::Node> node;
    run(open_node(path_, node));
    return node;
  }

  static aio::Task<void> open_node(std::string path, std::unique_ptr<block::Node>& node, FileOptions options = {}) {
    options.filename = path;
    options.locking = FileLocking::kOff;
    auto driver = co_await FileDriver::open(std::move(options));
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

TEST_P(FileBackendsTest, ReadsTheWrittenData) {
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

// Simulated files do not support the flag, as on older kernels. Where the host's files do not either, both runs test
// the same.
TEST_P(FileBackendsTest, DroppingCachedPagesIsLeftOutWhereTheFileSystemDoesNotSupportIt) {
  ASSERT_NE(make_node(64 << 10), nullptr);
  std::unique_ptr<block::Node> node;
  run(open_node(path_, node, {.keep_cached = false}));
  ASSERT_NE(node, nullptr);
  std::deque<block::NodeModel> models;
  for (std::uint64_t part = 0; part < 4; ++part) {
    models.emplace_back(*node, block::Range{part * 16'384, 16'384}, part);
  }
  run(run_models(models));
}

// Tests that need a disk whose times and random choices follow from a seed, or a host that loses power.
class SimulatedFileTest : public FileBackendsTest {
 public:
  static aio::Task<void> write_number(block::Node& node, std::uint64_t offset, std::uint64_t number,
                                      bool force_unit_access, IoResult& result) {
    iovec data{.iov_base = &number, .iov_len = sizeof number};
    result = co_await node.write({offset, sizeof number}, {&data, 1}, {.force_unit_access = force_unit_access});
  }
};
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

aio::Task<void> write_zeroes_fast(block::Node& node, block::Range range, IoResult& result) {
  result = co_await node.write_zeroes(range, {.no_fallback = true});
}

// A file system without ZERO_RANGE: the driver punches a hole and allocates its space again, unless it knows that this
// does not work.
TEST_P(SimulatedFileTest, FastZeroesAreDoneOrRefusedBeforeAnythingChanges) {
  const std::string text = "some text";
  IoResult result;
  // For each case, the calls in a row that the file system does not support.
  const std::vector<std::vector<aio::Fault>> unknown = {
      {{.kind = aio::OperationKind::kAllocate, .error = EOPNOTSUPP, .count = 1}},
      {{.kind = aio::OperationKind::kAllocate, .error = EOPNOTSUPP, .count = 2}},
      {{.kind = aio::OperationKind::kAllocate, .error = EOPNOTSUPP, .count = 1},
       {.kind = aio::OperationKind::kAllocate, .error = EOPNOTSUPP, .after = 1, .count = 1}},
      {{.kind = aio::OperationKind::kAllocate, .error = EOPNOTSUPP, .count = 1},
       {.kind = aio::OperationKind::kAllocate, .error = EOPNOTSUPP, .after = 2, .count = 1}},
      {{.kind = aio::OperationKind::kAllocate, .error = EINVAL, .count = 100}},
  };
  int refused = 0;
  for (std::size_t i = 0; i < unknown.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "case " << i);
    std::unique_ptr<block::Node> node = make_node(8192);
    run(write_text(*node, 100, text, result));
    for (const aio::Fault& fault : unknown[i]) simulation().inject(fault);
    run(write_zeroes_fast(*node, {0, 4096}, result));
    simulation().clear_faults();
    const std::string expected = result ? std::string(text.size(), '\0') : text;
    if (!result) {
      EXPECT_EQ(result.error(), Errno(ENOTSUP));
      ++refused;
    }
    EXPECT_EQ(content_of(path_).substr(100, text.size()), expected);
  }
  EXPECT_EQ(refused, 3);
}

aio::Task<void> write_zeroes_durably(block::Node& node, IoResult& result) {
  result = co_await node.write_zeroes({0, 4096}, {.force_unit_access = true, .no_fallback = true});
}

TEST_P(SimulatedFileTest, ASyncThatFailsAfterZeroesDoesNotSayThatNothingChanged) {
  std::unique_ptr<block::Node> node = make_node(8192);
  IoResult result;
  run(write_text(*node, 0, "text", result));
  simulation().inject({.kind = aio::OperationKind::kSync, .error = EOPNOTSUPP, .count = 1});
  run(write_zeroes_durably(*node, result));
  EXPECT_EQ(result, IoResult(fail(EIO)));
}

// The number of inline writes of `node` that succeeded, out of 40.
int taken_at_once(aio::Reactor& reactor, block::Node& node) {
  int taken = 0;
  std::string text = "data";
  iovec data{.iov_base = text.data(), .iov_len = text.size()};
  for (int i = 0; i < 40; ++i) taken += node.try_write(reactor, {0, text.size()}, {&data, 1}) ? 1 : 0;
  return taken;
}

TEST_P(SimulatedFileTest, WritesThatStallAreHandedToWorkersForAWhile) {
  std::unique_ptr<block::Node> node = make_node(8192);
  EXPECT_GT(taken_at_once(reactor(), *node), 1);
  // A long write whose thread was preempted: not the file's fault, so nothing changes.
  simulation().options().write_hold_ns = 20'000'000;
  simulation().options().write_hold_waits = false;
  EXPECT_GT(taken_at_once(reactor(), *node), 1);
  // The first watched write that waits starts a backoff for the others.
  simulation().options().write_hold_waits = true;
  EXPECT_EQ(taken_at_once(reactor(), *node), 1);
  // The blocking verb works meanwhile and advances the clock.
  IoResult result;
  run(write_text(*node, 100, "kept", result));
  EXPECT_TRUE(result.has_value());
  EXPECT_EQ(taken_at_once(reactor(), *node), 0);
  run([](aio::Reactor& on) -> aio::Task<void> {
    (void)co_await on.sleep_until(on.now_ns() + 50 * 20'000'000);
  }(reactor()));
  EXPECT_EQ(taken_at_once(reactor(), *node), 1);
}

TEST_P(SimulatedFileTest, FlushedDataSurviveAPowerCut) {
  std::unique_ptr<block::Node> node = make_node(8192);
  IoResult result;
  run(write_text(*node, 100, "durable", result));
  ASSERT_TRUE(result.has_value());
  run(flush(*node, result));
  ASSERT_TRUE(result.has_value());
  simulation().power_cut();
  EXPECT_EQ(content_of(path_).substr(100, 7), "durable");
}

// Cached holes that several writers fill and punch again.
TEST_P(SimulatedFileTest, NeverReportsDataAsZeros) {
  for (std::uint64_t seed = 1; seed <= 20 && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    simulation().make_file("sparse", 256 << 10);
    std::unique_ptr<block::Node> node;
    run(open_node("sparse", node));
    ASSERT_NE(node, nullptr);
    std::deque<block::NodeModel> models;
    for (std::uint64_t part = 0; part < 4; ++part) {
      models.emplace_back(*node, block::Range{part * 65'536, 65'536}, seed * 100 + part);
    }
    run(run_models(models));
  }
}

aio::Task<void> flush_into(block::Node& node, std::deque<IoResult>& results) {
  IoResult& result = results.emplace_back();
  result = co_await node.flush();
}

aio::Task<void> flush_at_once(block::Node& node, int count, std::deque<IoResult>& results) {
  aio::Scope scope(co_await aio::current_reactor());
  for (int i = 0; i < count; ++i) scope.spawn("flush", flush_into(node, results));
  co_await scope.join();
}

TEST_P(SimulatedFileTest, FlushesThatWaitTogetherAreOneSync) {
  std::unique_ptr<block::Node> node = make_node(8192);
  IoResult result;
  run(write_text(*node, 0, "text", result));
  // The first flush runs alone; a third sync would fail.
  simulation().inject({.kind = aio::OperationKind::kSync, .error = EIO, .after = 2, .count = 100});
  std::deque<IoResult> results;
  run(flush_at_once(*node, 16, results));
  ASSERT_EQ(results.size(), 16u);
  for (const IoResult& flushed : results) EXPECT_TRUE(flushed.has_value());
}

aio::Task<void> write_durably_into(block::Node& node, std::uint64_t offset, std::deque<IoResult>& results) {
  IoResult& result = results.emplace_back(fail(EAGAIN));
  std::string text(512, 'x');
  iovec vector{text.data(), text.size()};
  result = co_await node.write({offset, text.size()}, {&vector, 1}, {.force_unit_access = true});
}

aio::Task<void> write_durably_during_a_flush(block::Node& node, std::deque<IoResult>& results) {
  aio::Scope scope(co_await aio::current_reactor());
  scope.spawn("flush", flush_into(node, results));
  for (std::uint64_t i = 0; i < 8; ++i) scope.spawn("write", write_durably_into(node, i * 512, results));
  co_await scope.join();
}

// A copy into the page cache holds the simulated thread for a millisecond, which shows how many were made.
TEST_P(SimulatedFileTest, DurableWritesDuringASyncAreMadeAtOnceAndShareTheNext) {
  std::unique_ptr<block::Node> node = make_node(8192);
  IoResult result;
  run(write_text(*node, 0, "text", result));
  simulation().options().write_hold_ns = 1'000'000;
  simulation().options().write_hold_waits = false;
  const std::uint64_t started_ns = reactor().now_ns();
  std::deque<IoResult> results;
  run(write_durably_during_a_flush(*node, results));
  // The simulation refuses one inline copy in four.
  EXPECT_GE(reactor().now_ns() - started_ns, 4'000'000u);
  ASSERT_EQ(results.size(), 9u);
  for (const IoResult& each : results) EXPECT_TRUE(each.has_value());
}

TEST_P(SimulatedFileTest, AFailedSyncFailsForAllMembersAndForLaterFlushes) {
  std::unique_ptr<block::Node> node = make_node(8192);
  IoResult result;
  run(write_text(*node, 0, "text", result));
  simulation().inject({.kind = aio::OperationKind::kSync, .error = EIO, .count = 1});
  std::deque<IoResult> results;
  run(flush_at_once(*node, 16, results));
  ASSERT_EQ(results.size(), 16u);
  for (const IoResult& flushed : results) EXPECT_EQ(flushed, IoResult(fail(EIO)));
  run(flush(*node, result));
  EXPECT_EQ(result, IoResult(fail(EIO)));
}

TEST_P(SimulatedFileTest, ADurableWriteThatTheDiskFailsFailsTheFlushesAfterIt) {
  // A failed path, a bad sector, a device that does not answer.
  for (int error : {EIO, ENODATA, ETIMEDOUT}) {
    std::unique_ptr<block::Node> node = make_node(8192);
    simulation().inject({.kind = aio::OperationKind::kWrite, .error = error, .count = 1});
    IoResult result;
    run(write_number(*node, 0, 1, true, result));
    EXPECT_EQ(result, IoResult(fail(error)));
    run(flush(*node, result));
    EXPECT_EQ(result, IoResult(fail(error)));
  }
}

TEST_P(SimulatedFileTest, ADurableWriteThatIsRefusedForWantOfSpaceHarmsNoFlush) {
  for (int error : {ENOSPC, EDQUOT}) {
    std::unique_ptr<block::Node> node = make_node(8192);
    simulation().inject({.kind = aio::OperationKind::kWrite, .error = error, .count = 1});
    IoResult result;
    run(write_number(*node, 0, 1, true, result));
    EXPECT_EQ(result, IoResult(fail(error)));
    run(flush(*node, result));
    EXPECT_EQ(result, IoResult());
  }
}

// A client of a disk that will lose power: it writes ever higher numbers to a sector of its own, and records the last
// number whose durability was promised.
struct Promise {
  std::uint64_t offset = 0;
  std::uint64_t started = 0;
  std::uint64_t durable = 0;
};

aio::Task<void> keep_writing(block::Node& node, Promise& promise, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::uint64_t number = 1;; ++number) {
    promise.started = number;
    bool force_unit_access = random() % 3 == 0;
    IoResult result;
    co_await SimulatedFileTest::write_number(node, promise.offset, number, force_unit_access, result);
    if (result && !force_unit_access && random() % 2 == 0) {
      result = co_await node.flush();
      force_unit_access = true;
    }
    if (!result) co_return;
    if (force_unit_access) promise.durable = number;
  }
}

aio::Task<void> write_until_power_cut(block::Node& node, std::deque<Promise>& promises, aio::Simulation& simulation,
                                      std::uint64_t seed) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  aio::Scope scope(reactor);
  for (Promise& promise : promises) scope.spawn("client", keep_writing(node, promise, ++seed));
  (void)co_await reactor.sleep_until(reactor.now_ns() + 1'000'000 + simulation.random().below(20'000'000));
  simulation.power_cut();
  co_await scope.join();
}

TEST_P(SimulatedFileTest, PromisedWritesSurviveAPowerCut) {
  for (std::uint64_t seed = 1; seed <= 200 && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::unique_ptr<block::Node> node = make_node(16 * 512);
    ASSERT_NE(node, nullptr);
    std::deque<Promise> promises;
    for (std::uint64_t i = 0; i < 16; ++i) promises.push_back({.offset = i * 512});
    run(write_until_power_cut(*node, promises, simulation(), seed * 100));
    std::string left = content_of(path_);
    for (const Promise& promise : promises) {
      std::uint64_t number = 0;
      std::memcpy(&number, left.data() + promise.offset, sizeof number);
      EXPECT_GE(number, promise.durable);
      EXPECT_LE(number, promise.started);
    }
  }
}

}  // namespace
}  // namespace blockexport::drivers
