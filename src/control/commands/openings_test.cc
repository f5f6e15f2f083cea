// Commands that open a file or driver which never responds: the commands of other monitors continue meanwhile, an id
// that is being made is taken, and the end of the daemon cancels them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <list>
#include <optional>
#include <string>

#include "aio/task/current.h"
#include "aio/testing/backends.h"
#include "aio/testing/until.h"
#include "base/owned_fd.h"
#include "control/core/runner.h"
#include "control/testing/bare_daemon.h"
#include "json/parser.h"

namespace blockexport::control {
namespace {

using testing::BareDaemon;
using testing::Step;

// Opening a null-co node lasts until it is cancelled; all other drivers are those of the daemon.
class EndlessDrivers final : public block::DriverTable {
 public:
  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions& node_options,
                                                         block::ChildOpener& children) override {
    if (options.driver() != schema::BlockdevDriver::kNullCo) {
      co_return co_await built_in_.open(options, node_options, children);
    }
    aio::Reactor& reactor = co_await aio::current_reactor();
    ++opening;
    IoResult waited = co_await reactor.sleep_until(UINT64_MAX);
    --opening;
    co_return fail(Error::system("Could not open", waited.error()));
  }

  int opening = 0;

 private:
  drivers::BuiltInDrivers built_in_;
};

// A command of one monitor; the test does not wait for its end.
struct Command {
  Command(std::string given_name, std::string_view given_arguments, std::string_view given_monitor)
      : name(std::move(given_name)), arguments(*json::parse(given_arguments)), monitor(given_monitor) {}

  std::string name;
  json::Value arguments;
  std::string_view monitor;
  std::optional<std::string> outcome = {};  // the error's message, or ""; nullopt while it runs
};

aio::Task<void> run_command(Control& control, Command& command) {
  qmp::Command given{.name = command.name, .monitor = command.monitor, .arguments = &command.arguments};
  Result<json::Value> result = co_await Runner(control).run(given);
  command.outcome = result ? "" : result.error().message();
}

aio::Task<void> take(aio::Mutex& mutex, std::optional<aio::Mutex::Guard>& guard) {
  auto taken = co_await mutex.lock();
  if (taken) guard.emplace(std::move(*taken));
}

class OpeningsTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(mkfifo(pipe_.c_str(), 0600), 0); }
  void TearDown() override {
    commands_.cancel();
    aio::testing::run(daemon_.reactor(), commands_.join());
  }

  // The returned command lives as long as the test.
  Command& start(Command given) {
    Command& command = given_.emplace_back(std::move(given));
    commands_.spawn("command", run_command(daemon_.control(), command));
    aio::testing::run(daemon_.reactor(), pause());
    return command;
  }
  // Runs the daemon until the command has ended, and returns its outcome.
  std::string outcome_of(const Command& command) {
    aio::testing::run(daemon_.reactor(),
                      aio::testing::until(daemon_.reactor(), [&command] { return command.outcome.has_value(); }));
    return command.outcome.value_or("it never ended");
  }
  void write_secret() {
    OwnedFd writer(open(pipe_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    ASSERT_TRUE(writer);
    ASSERT_EQ(write(writer.get(), "123456", 6), 6);
  }
  // Runs the daemon long enough for every event that needs no other end of a pipe.
  aio::Task<void> pause() {
    for (int i = 0; i < 20; ++i) {
      (void)co_await daemon_.reactor().sleep_until(daemon_.reactor().now_ns() + 500'000);
    }
  }
  Command secret_of_pipe(std::string_view monitor = "") const {
    return {"object-add", R"({"qom-type": "secret", "id": "s", "file": ")" + pipe_ + "\"}", monitor};
  }
  Command chardev_of_pipe() const {
    return {"chardev-add", R"({"id": "c", "backend": {"type": "file", "data": {"out": ")" + pipe_ + "\"}}}", ""};
  }

  aio::testing::TemporaryDirectory directory_;
  const std::string pipe_ = directory_.path() + "/pipe";
  std::unique_ptr<EndlessDrivers> made_drivers_ = std::make_unique<EndlessDrivers>();
  EndlessDrivers& drivers_ = *made_drivers_;
  BareDaemon daemon_{directory_.path(), std::move(made_drivers_)};
  std::list<Command> given_;
  aio::Scope commands_{daemon_.reactor()};
};

TEST_F(OpeningsTest, APipeThatNobodyWritesDelaysNoOtherCommand) {
  const Command& secret = start(secret_of_pipe());
  for (const Step& step : {Step{"query-chardev"}, Step{"object-add", R"({"qom-type": "iothread", "id": "t"})"},
                           Step{"object-add", R"({"qom-type": "secret", "id": "other", "data": "x"})"},
                           Step{"chardev-add", R"({"id": "n", "backend": {"type": "null", "data": {}}})"},
                           Step{"nbd-server-start", R"({"addr": {"type": "unix", "data": {"path": "@/socket"}}})"},
                           Step{"nbd-server-stop"}, Step{"object-del", R"({"id": "t"})"}}) {
    EXPECT_EQ(daemon_.run(step), "") << step.command;
  }
  EXPECT_FALSE(secret.outcome);
  write_secret();
  EXPECT_EQ(outcome_of(secret), "");
  EXPECT_NE(daemon_.control().objects().find("s"), nullptr);
}

TEST_F(OpeningsTest, APipeThatNobodyReadsDelaysNoOtherCommand) {
  const Command& chardev = start(chardev_of_pipe());
  EXPECT_EQ(daemon_.run({"query-chardev"}), "");
  EXPECT_EQ(daemon_.run({"chardev-add", R"({"id": "n", "backend": {"type": "null", "data": {}}})"}), "");
  EXPECT_FALSE(chardev.outcome);
  const OwnedFd reader(open(pipe_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  EXPECT_EQ(outcome_of(chardev), "");
  EXPECT_NE(daemon_.control().chardevs().find("c"), nullptr);
}

TEST_F(OpeningsTest, ADriverThatNeverOpensDelaysNoCommandOnOtherNodes) {
  const Command& node = start({"blockdev-add", R"({"driver": "null-co", "node-name": "n"})", ""});
  EXPECT_EQ(drivers_.opening, 1);
  for (const Step& step : {Step{"query-chardev"}, Step{"query-block-exports"},
                           Step{"object-add", R"({"qom-type": "iothread", "id": "t"})"},
                           Step{"chardev-add", R"({"id": "c", "backend": {"type": "null", "data": {}}})"}}) {
    EXPECT_EQ(daemon_.run(step), "") << step.command;
  }
  EXPECT_FALSE(node.outcome);
}

TEST_F(OpeningsTest, AnIdThatIsBeingMadeIsTaken) {
  const std::string before = daemon_.state();
  const Command& secret = start(secret_of_pipe());
  EXPECT_EQ(daemon_.run({"object-add", R"({"qom-type": "secret", "id": "s", "data": "x"})"}),
            "attempt to add duplicate property 's' to object (type 'container')");
  EXPECT_EQ(daemon_.run({"object-del", R"({"id": "s"})"}), "object 's' not found");
  write_secret();
  EXPECT_EQ(outcome_of(secret), "");
  EXPECT_EQ(daemon_.run({"object-del", R"({"id": "s"})"}), "");
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
}

TEST_F(OpeningsTest, AnIdThatCouldNotBeMadeIsFreeAgain) {
  const std::string before = daemon_.state();
  const Command& chardev = start(chardev_of_pipe());
  EXPECT_EQ(daemon_.run({"chardev-add", R"({"id": "c", "backend": {"type": "null", "data": {}}})"}),
            "Chardev with id 'c' already exists");
  commands_.cancel();
  EXPECT_NE(outcome_of(chardev), "");
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
  EXPECT_EQ(daemon_.run({"chardev-add", R"({"id": "c", "backend": {"type": "null", "data": {}}})"}), "");
}

TEST_F(OpeningsTest, TheEndOfTheDaemonCancelsOpenings) {
  const Command& secret = start(secret_of_pipe());
  const Command& node = start({"blockdev-add", R"({"driver": "null-co", "node-name": "n"})", ""});
  EXPECT_EQ(daemon_.run({"quit"}), "");
  EXPECT_EQ(outcome_of(secret), "object-add was cancelled, because the daemon is shutting down: Unable to read " +
                                    pipe_ + ": Operation canceled");
  EXPECT_EQ(outcome_of(node),
            "blockdev-add was cancelled, because the daemon is shutting down: Could not open: Operation canceled");
  EXPECT_EQ(drivers_.opening, 0);
}

TEST_F(OpeningsTest, ACommandThatOpensNothingRunsExclusively) {
  std::optional<aio::Mutex::Guard> running;
  aio::testing::run(daemon_.reactor(), take(daemon_.control().command_mutex(), running));
  const Command& query = start({"query-chardev", "{}", ""});
  const Command& secret = start(secret_of_pipe());
  const Command& last = start({"query-chardev", "{}", ""});
  EXPECT_FALSE(query.outcome);
  EXPECT_EQ(daemon_.control().objects().reserve("s").has_value(), true) << "the command began before its turn";
  EXPECT_FALSE(last.outcome);
  running.reset();
  EXPECT_EQ(outcome_of(query), "");
  EXPECT_EQ(outcome_of(last), "");
  EXPECT_FALSE(secret.outcome);
}

TEST_F(OpeningsTest, AMonitorThatWaitsForAnOpeningIsNotTheCommandingOne) {
  const Command& secret = start(secret_of_pipe("first"));
  EXPECT_EQ(daemon_.control().commanding_monitor(), "");
  const Command& own = start({"object-del", R"({"id": "second"})", "second"});
  EXPECT_EQ(outcome_of(own), "Cannot delete the current QMP monitor");
  const Command& other = start({"object-del", R"({"id": "first"})", "second"});
  EXPECT_EQ(outcome_of(other), "object 'first' not found");
  EXPECT_FALSE(secret.outcome);
}

}  // namespace
}  // namespace blockexport::control
