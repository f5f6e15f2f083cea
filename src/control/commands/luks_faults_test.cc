// Works that make encrypted images and change their key slots while one step fails, each step in turn. Over a simulated
// disk, where a step is an operation on a file.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "aio/testing/backends.h"
#include "aio/testing/simulation.h"
#include "block/graph.h"
#include "drivers/driver_table.h"
#include "jobs/creation_work.h"
#include "jobs/luks_amendment.h"
#include "jobs/unwatched_steps.h"
#include "json/parser.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

using aio::Task;

// Above the number of operations of every work here.
constexpr std::uint64_t kStepsMax = 2000;

// The secret "old" is the passphrase "old", and "new" another one.
class TwoSecrets final : public drivers::SecretSource {
 public:
  Result<std::shared_ptr<const SecretBytes>> find_secret(const std::string& id) override {
    return std::make_shared<const SecretBytes>(id);
  }
};

// A block graph over the file "/disk" of a simulated disk.
class Images {
 public:
  explicit Images(std::string_view driver) : driver_(driver) {
    simulation_.make_file("/disk", 0);
    drivers_.set_secrets(secrets_);
  }
  ~Images() {
    aio::testing::run(*reactor_, graph_.close());
    EXPECT_EQ(simulation_.describe_open_files(), "") << "files left open at the end";
  }

  // The error's message, or "".
  std::string create() {
    const std::string encryption = R"("key-secret": "old", "iter-time": 1)";
    const std::string options = driver_ == "luks" ? encryption : R"("encrypt": {"format": "luks", )" + encryption + "}";
    auto decoded = schema::decode<schema::BlockdevCreateOptions>(
        *json::parse(R"({"driver": ")" + driver_ +
                     R"(", "file": {"driver": "file", "filename": "/disk"}, "size": 65536, )" + options + "}"));
    EXPECT_TRUE(decoded);
    auto work = jobs::creation_work(graph_, *decoded, &secrets_);
    EXPECT_TRUE(work);
    return finish(**work);
  }
  std::string open(const std::string& secret) {
    const std::string key = R"("key-secret": ")" + secret + "\"";
    const std::string options = driver_ == "luks" ? key : R"("encrypt": {"format": "luks", )" + key + "}";
    auto decoded =
        schema::decode<schema::BlockdevOptions>(*json::parse(R"({"driver": ")" + driver_ + R"(", "node-name": "disk",
                      "file": {"driver": "file", "filename": "/disk"}, )" +
                                                             options + "}"));
    EXPECT_TRUE(decoded);
    Result<> added;
    aio::testing::run(*reactor_, add_into(graph_, std::move(*decoded), added));
    return added ? "" : added.error().message();
  }
  void close() {
    Result<> removed;
    aio::testing::run(*reactor_, remove_into(graph_, removed));
    EXPECT_TRUE(removed);
  }
  // True if the passphrase of the secret opens the image.
  bool opens(const std::string& secret) {
    const std::string error = open(secret);
    if (error.empty()) close();
    return error.empty();
  }
  // Changes the key slots of the open node, as `change` says.
  std::string amend(const std::string& change) {
    const std::string options = driver_ == "luks" ? change : R"("encrypt": {"format": "luks", )" + change + "}";
    auto decoded = schema::decode<schema::BlockdevAmendOptions>(
        *json::parse(R"({"driver": ")" + driver_ + "\", " + options + "}"));
    EXPECT_TRUE(decoded);
    jobs::LuksAmendmentWork work(graph_, "disk", std::move(*decoded), false, secrets_);
    return finish(work);
  }
  bool has_nodes() const { return !graph_.nodes().empty(); }

  aio::Simulation& simulation() { return simulation_; }

 private:
  std::string finish(jobs::JobWork& work) {
    Result<> done;
    aio::testing::run(*reactor_, finish_into(work, done));
    return done ? "" : done.error().message();
  }
  static Task<void> finish_into(jobs::JobWork& work, Result<>& done) { done = co_await jobs::run_unwatched(work); }
  static Task<void> add_into(block::Graph& graph, schema::BlockdevOptions options, Result<>& added) {
    added = co_await graph.add(std::move(options));
  }
  static Task<void> remove_into(block::Graph& graph, Result<>& removed) { removed = co_await graph.remove("disk"); }

  std::string driver_;
  aio::Simulation simulation_{aio::SimulationOptions{.latency_max_ns = 10'000}};
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  TwoSecrets secrets_;
  drivers::BuiltInDrivers drivers_;
  Trace trace_;
  block::Graph graph_{*reactor_, drivers_, trace_};
};

class LuksFaultsTest : public testing::TestWithParam<const char*> {
 protected:
  // Calls `work` for images in which one operation fails, the one after `after` others, until no operation is left. It
  // gets whether a fault was met.
  template <class Work>
  static std::uint64_t for_each_fault(int error, Work work) {
    for (std::uint64_t after = 0; after < kStepsMax && !HasFailure(); ++after) {
      SCOPED_TRACE(testing::Message() << "operation " << after << ": " << errno_text(Errno(error)));
      Images images(GetParam());
      if (!work(images, after)) return after;
    }
    ADD_FAILURE() << "too many operations";
    return 0;
  }
  static void inject(Images& images, int error, std::uint64_t after) {
    images.simulation().inject({.kind = {}, .error = error, .after = after});
  }
  // Ends the faults; whether one was met.
  static bool was_met(Images& images) {
    const bool met = images.simulation().faults_left() == 0;
    images.simulation().clear_faults();
    return met;
  }
};

TEST_P(LuksFaultsTest, ACreationFailsWithoutANodeLeftAndSucceedsAgain) {
  for (int error : {EIO, ENOSPC}) {
    std::uint64_t failures = 0;
    for_each_fault(error, [&](Images& images, std::uint64_t after) {
      inject(images, error, after);
      const std::string message = images.create();
      const bool met = was_met(images);
      EXPECT_FALSE(images.has_nodes());
      if (!message.empty()) {
        ++failures;
        EXPECT_EQ(images.create(), "") << "after " << message;
      }
      EXPECT_TRUE(images.opens("old"));
      EXPECT_FALSE(images.opens("new"));
      return met;
    });
    EXPECT_GT(failures, 5u);
  }
}

TEST_P(LuksFaultsTest, AKeyChangeThatFailsLeavesThePassphrases) {
  for (int error : {EIO, ENOSPC}) {
    std::uint64_t failures = 0;
    for_each_fault(error, [&](Images& images, std::uint64_t after) {
      EXPECT_EQ(images.create(), "");
      EXPECT_EQ(images.open("old"), "");
      inject(images, error, after);
      const std::string message = images.amend(R"("state": "active", "new-secret": "new", "iter-time": 1)");
      const bool met = was_met(images);
      images.close();
      EXPECT_TRUE(images.opens("old")) << message;
      if (message.empty()) {
        EXPECT_TRUE(images.opens("new"));
      } else {
        ++failures;
        EXPECT_EQ(images.open("old"), "");
        EXPECT_EQ(images.amend(R"("state": "active", "new-secret": "new", "iter-time": 1)"), "") << message;
        images.close();
        EXPECT_TRUE(images.opens("new"));
      }
      return met;
    });
    EXPECT_GT(failures, 3u);
  }
}

// The new passphrase stays whatever happens; the old one is gone if the change succeeded.
TEST_P(LuksFaultsTest, ARemovalThatFailsLeavesTheOtherPassphrase) {
  for (int error : {EIO, ENOSPC}) {
    for_each_fault(error, [&](Images& images, std::uint64_t after) {
      EXPECT_EQ(images.create(), "");
      EXPECT_EQ(images.open("old"), "");
      EXPECT_EQ(images.amend(R"("state": "active", "new-secret": "new", "iter-time": 1)"), "");
      inject(images, error, after);
      const std::string message = images.amend(R"("state": "inactive", "old-secret": "old")");
      const bool met = was_met(images);
      images.close();
      EXPECT_TRUE(images.opens("new")) << message;
      if (message.empty()) EXPECT_FALSE(images.opens("old"));
      return met;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, LuksFaultsTest, testing::Values("luks", "qcow2"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace blockexport::control
