// Control commands while one step fails, each step in turn: they succeed; or they fail, the state is as before, and
// they succeed when repeated. Over a simulated disk, where a step is an operation on a file.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "aio/testing/backends.h"
#include "aio/testing/simulation.h"
#include "control/core/control.h"
#include "control/core/runner.h"
#include "drivers/driver_table.h"
#include "jobs/creation_work.h"
#include "jobs/unwatched_steps.h"
#include "json/parser.h"
#include "json/writer.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

using aio::Task;

constexpr const char* kDisks[] = {"/a", "/b", "/c", "/d"};
constexpr std::uint64_t kDiskBytes = 1u << 20;
// Above the number of operations of every command here.
constexpr std::uint64_t kStepsMax = 400;
// The queries whose replies make up the state.
constexpr std::string_view kQueries[] = {"query-named-block-nodes", "query-block-exports", "x-debug-query-block-graph",
                                         "query-chardev"};

struct Step {
  std::string command;
  std::string arguments = "{}";
};

// A daemon's control plane without its sockets, over files "/a" to "/d" of a simulated disk.
class Daemon {
 public:
  Daemon() {
    for (const char* disk : kDisks) simulation_.make_file(disk, kDiskBytes);
    control_ = std::make_unique<Control>(*reactor_, DataReactorOptions{}, log_, drivers_, [] {});
    control_->servers().make(kDefaultServerId, {});
  }
  ~Daemon() {
    aio::testing::run(*reactor_, control_->shut_down());
    aio::testing::run(*reactor_, control_->close_monitors());
    EXPECT_EQ(simulation_.describe_open_files(), foreign_) << "files left open at the end";
  }

  // The error's message, or "".
  std::string run(const Step& step) {
    Result<json::Value> result = json::Value();
    aio::testing::run(*reactor_, run_into(step.command, *json::parse(step.arguments), result));
    return result ? "" : result.error().message();
  }
  void prepare(const std::vector<Step>& steps) {
    for (const Step& step : steps) ASSERT_EQ(run(step), "") << step.command << " " << step.arguments;
  }
  // Makes a qcow2 image of the size of the disks in a file.
  void make_image(const std::string& disk) {
    const auto options = schema::decode<schema::BlockdevCreateOptions>(
        json::Value(json::Object{{"driver", "qcow2"},
                                 {"size", static_cast<std::int64_t>(kDiskBytes)},
                                 {"file", json::Object{{"driver", "file"}, {"filename", disk}}}}));
    ASSERT_TRUE(options);
    auto work = jobs::creation_work(control_->graph(), *options);
    ASSERT_TRUE(work);
    Result<> made;
    aio::testing::run(*reactor_, make_into(**work, made));
    ASSERT_TRUE(made);
  }

  // The replies of all queries, and the locks on each disk.
  std::string visible_state() {
    std::string text;
    for (std::string_view query : kQueries) {
      Result<json::Value> result = json::Value();
      aio::testing::run(*reactor_, run_into(std::string(query), json::Object{}, result));
      text += std::string(query) + " ";
      if (result) json::write(*result, text);
      text += "\n";
    }
    for (const char* disk : kDisks) {
      text += disk + (" " + std::to_string(simulation_.read_file(disk)->size())) + "\n";
    }
    for (const auto& [disk, bytes] : locked_bytes()) {
      text += disk + " has locks";
      for (const std::string& byte : bytes) text += " " + byte;
      text += "\n";
    }
    return text + (control_->servers().find_default() != nullptr ? "server\n" : "no server\n");
  }
  // The same, with the open files.
  std::string state() { return visible_state() + simulation_.describe_open_files(); }

  aio::Simulation& simulation() { return simulation_; }
  // Another process uses the disk: it holds the locks of a writer that shares nothing.
  void use_elsewhere(const std::string& disk) {
    aio::testing::run(*reactor_, open_elsewhere(disk));
    foreign_ = disk + " rw locks 101 201\n";
  }

 private:
  // Counts all descriptors of the file.
  std::map<std::string, std::set<std::string>> locked_bytes() const {
    std::map<std::string, std::set<std::string>> locked;
    std::istringstream lines(simulation_.describe_open_files());
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line.substr(line.find(" locks") + 6));
      std::set<std::string>& bytes = locked[line.substr(0, line.find(' '))];
      for (std::string byte; words >> byte;) bytes.insert(byte);
    }
    return locked;
  }
  Task<void> open_elsewhere(std::string disk) {
    auto fd = co_await reactor_->open(disk.c_str(), O_RDWR);
    for (std::uint64_t offset : {101, 201}) (void)co_await reactor_->lock(fd.value_or(-1), offset, F_RDLCK);
  }
  static Task<void> make_into(jobs::JobWork& work, Result<>& made) { made = co_await jobs::run_unwatched(work); }
  Task<void> run_into(std::string command, json::Value arguments, Result<json::Value>& result) {
    result = co_await Runner(*control_).run({.name = std::move(command), .arguments = &arguments});
  }

  aio::Simulation simulation_{aio::SimulationOptions{.latency_max_ns = 10'000}};
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  drivers::BuiltInDrivers drivers_;
  Log log_{"control_test", 2, LogLevel::kError};
  std::unique_ptr<Control> control_;
  std::string foreign_;  // open files of other processes
};

struct Case {
  const char* name;
  std::vector<Step> before;
  Step step;
  bool may_fail = true;  // false: the command only releases resources
};

Step add_file(const std::string& name) {
  return {"blockdev-add", R"({"driver": "file", "node-name": ")" + name + R"(", "filename": "/)" + name + "\"}"};
}
Step add_raw(const std::string& name, const std::string& below) {
  return {"blockdev-add", R"({"driver": "raw", "node-name": ")" + name + R"(", "file": ")" + below + "\"}"};
}
Step add_export(const std::string& id, const std::string& node, bool writable = true) {
  return {"block-export-add", R"({"type": "nbd", "id": ")" + id + R"(", "name": ")" + id + R"(", "node-name": ")" +
                                  node + R"(", "writable": )" + (writable ? "true" : "false") + "}"};
}
std::string reopened_file(const std::string& name, const std::string& changed) {
  return R"({"driver": "file", "node-name": ")" + name + R"(", "filename": "/)" + name + "\", " + changed + "}";
}
std::string reopened_raw(const std::string& name, const std::string& below) {
  return R"({"driver": "raw", "node-name": ")" + name + R"(", "file": ")" + below + "\"}";
}
Step reopen(const std::string& one, const std::string& other = "") {
  return {"blockdev-reopen", R"({"options": [)" + one + (other.empty() ? "" : ", ") + other + "]}"};
}

Step begin_backup() {
  return {"backup-begin", R"({"id": "k", "checkpoint": "p",
      "disks": [{"node-name": "a", "scratch": "c"}, {"node-name": "r", "scratch": "d"}]})"};
}
Step add_bitmap(const std::string& node) {
  return {"block-dirty-bitmap-add", R"({"node": ")" + node + R"(", "name": "p"})"};
}
std::vector<Step> disks_to_back_up() {
  return {add_file("a"),     add_file("b"),        add_file("c"),        add_file("d"),
          add_raw("r", "b"), add_export("e", "a"), add_export("f", "r"), add_bitmap("a")};
}
// Without exports, which a failed backup-end does not bring back.
std::vector<Step> backup_without_exports() {
  std::vector<Step> steps = disks_to_back_up();
  steps.push_back(begin_backup());
  for (const char* id : {"k-0", "k-1"}) steps.push_back({"block-export-del", R"({"id": ")" + std::string(id) + "\"}"});
  return steps;
}

Step add_quorum() {
  return {"blockdev-add", R"({"driver": "quorum", "node-name": "q", "vote-threshold": 1, "children":
      ["a", {"driver": "file", "node-name": "b", "filename": "/b"}]})"};
}
Step change_children(const std::string& change) {
  return {"x-blockdev-change", R"({"parent": "q", )" + change + "}"};
}

constexpr const char* kDirect = R"("cache": {"direct": true})";
constexpr const char* kCached = R"("cache": {"direct": false})";
constexpr const char* kReadOnly = R"("read-only": true)";

std::vector<Case> cases() {
  const Step nested{"blockdev-add", R"({"driver": "raw", "node-name": "top", "offset": 512, "file":
      {"driver": "raw", "node-name": "middle", "file": {"driver": "file", "node-name": "a", "filename": "/a"}}})"};
  return {
      {"AddOfNestedNodes", {}, nested},
      {"DelThatFlushes",
       {add_file("a"), add_raw("r", "a"), {"block_resize", R"({"node-name": "r", "size": 4096})"}},
       {"blockdev-del", R"({"node-name": "r"})"}},
      {"ReopenUnderAnExport", {add_file("a"), add_export("e", "a")}, reopen(reopened_file("a", kDirect))},
      {"ReopenOfTwoNodes",
       {add_file("a"), add_file("b"), add_export("e", "a"), add_export("f", "b", false)},
       reopen(reopened_file("a", kDirect), reopened_file("b", kReadOnly))},
      {"ReopenThatMovesTwoNodes",
       {add_file("a"), add_file("b"), add_file("c"), add_file("d"), add_raw("r", "a"), add_raw("s", "b"),
        add_raw("t", "a"), add_export("e", "r"), add_export("f", "s")},
       reopen(reopened_raw("r", "c"), reopened_raw("s", "d"))},
      {"ReopenThatMovesAndOpensAgain",
       {add_file("a"), add_file("b"), add_raw("r", "a"), add_export("e", "r")},
       reopen(reopened_raw("r", "b"), reopened_file("b", kDirect))},
      {"GrowthUnderAnExport",
       {add_file("a"), add_raw("r", "a"), add_export("e", "r")},
       {"block_resize", R"({"node-name": "r", "size": 2097152})"}},
      {"Shrinking", {add_file("a"), add_raw("r", "a")}, {"block_resize", R"({"node-name": "r", "size": 4096})"}},
      {"ExportAdd", {add_file("a"), add_raw("r", "a")}, add_export("e", "r")},
      {"SecondExportAdd", {add_file("a"), add_export("e", "a", false)}, add_export("f", "a")},
      {"ExportDel", {add_file("a"), add_export("e", "a")}, {"block-export-del", R"({"id": "e"})"}, false},
      {"BackupBegin", disks_to_back_up(), begin_backup()},
      {"BackupSuccess", backup_without_exports(), {"backup-end", R"({"id": "k", "outcome": "success"})"}, false},
      {"BackupAbort", backup_without_exports(), {"backup-end", R"({"id": "k", "outcome": "abort"})"}, false},
      {"ChildAddUnderAnExport",
       {add_file("a"), add_file("c"), add_raw("r", "c"), add_quorum(), add_export("e", "q")},
       change_children(R"("node": "r")")},
      // Here the locks of a file are given back, and another file is closed.
      {"ChildRemovalUnderAnExport",
       {add_file("a"), add_quorum(), add_export("e", "q")},
       change_children(R"("child": "children.0")"),
       false},
      {"InlineChildRemoval",
       {add_file("a"), add_quorum(), add_export("e", "q")},
       change_children(R"("child": "children.1")"),
       false},
      {"ServerStop",
       {add_file("a"), add_file("b"), add_export("e", "a"), add_export("f", "b")},
       {"nbd-server-stop"},
       false},
  };
}

class FailingStepTest : public testing::TestWithParam<Case> {};

// EAGAIN is the error of a lock that another process holds.
TEST_P(FailingStepTest, FailsWithoutAChangeOrSucceeds) {
  Daemon whole;
  whole.prepare(GetParam().before);
  const std::string at_first = whole.state();
  ASSERT_EQ(whole.run(GetParam().step), "");
  const std::string succeeded = whole.visible_state();
  EXPECT_NE(at_first, whole.state());
  for (int error : {EIO, EAGAIN}) {
    std::uint64_t after = 0;
    for (bool was_met = true; was_met && !HasFailure(); ++after) {
      ASSERT_LT(after, kStepsMax);
      SCOPED_TRACE(testing::Message() << "operation " << after << ": " << errno_text(Errno(error)));
      Daemon daemon;
      daemon.prepare(GetParam().before);
      daemon.simulation().inject({.kind = {}, .error = error, .after = after});
      const std::string message = daemon.run(GetParam().step);
      was_met = daemon.simulation().faults_left() == 0;
      daemon.simulation().clear_faults();
      if (!message.empty()) {
        EXPECT_EQ(daemon.state(), at_first) << message;
        EXPECT_EQ(daemon.run(GetParam().step), "") << "after " << message;
      }
      // One more descriptor may be open: one that keeps locks which no other descriptor could get.
      EXPECT_EQ(daemon.visible_state(), succeeded);
    }
    EXPECT_EQ(after > 1, GetParam().may_fail);
  }
}

INSTANTIATE_TEST_SUITE_P(Commands, FailingStepTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

Step add_overlay(const std::string& name) {
  return {"blockdev-add", R"({"driver": "qcow2", "node-name": ")" + name + R"(", "backing": null,
      "file": {"driver": "file", "filename": "/)" +
                              name + "\"}}"};
}

// A snapshot of two disks, the second one with an image that is opened for it. A node below that could not be made
// read-only is not an error, and stays as it was.
TEST(FailingSnapshotTest, FailsWithoutAChangeOrSucceeds) {
  const std::vector<Step> before{
      add_file("a"),        add_file("b"),   add_overlay("c"),           add_export("e", "a"),
      add_export("f", "b"), add_bitmap("a"), add_export("g", "a", false)};
  const Step step{"transaction", R"({"actions": [
      {"type": "blockdev-snapshot", "data": {"node": "a", "overlay": "c"}},
      {"type": "blockdev-snapshot-sync",
       "data": {"node-name": "b", "snapshot-node-name": "n", "snapshot-file": "/d", "mode": "existing"}}]})"};
  for (int error : {EIO, EAGAIN}) {
    std::uint64_t after = 0;
    std::uint64_t failures = 0;
    for (bool was_met = true; was_met && !testing::Test::HasFailure(); ++after) {
      ASSERT_LT(after, kStepsMax);
      SCOPED_TRACE(testing::Message() << "operation " << after << ": " << errno_text(Errno(error)));
      Daemon daemon;
      for (const char* disk : {"/c", "/d"}) daemon.make_image(disk);
      daemon.prepare(before);
      const std::string at_first = daemon.state();
      daemon.simulation().inject({.kind = {}, .error = error, .after = after});
      const std::string message = daemon.run(step);
      was_met = daemon.simulation().faults_left() == 0;
      daemon.simulation().clear_faults();
      if (!message.empty()) {
        ++failures;
        EXPECT_EQ(daemon.state(), at_first) << message;
        EXPECT_EQ(daemon.run(step), "") << "after " << message;
      }
      EXPECT_EQ(daemon.run({"blockdev-del", R"({"node-name": "b"})"}),
                "Node 'b' is busy: node is used as backing hd of 'n'");
    }
    EXPECT_GT(failures, 10u);
  }
}

// A command, and the command that undoes it.
struct Pair {
  std::vector<Step> before;
  Step step;
  std::vector<Step> back;
};

TEST(TakingBackTest, AnUndoneCommandLeavesNothingBehind) {
  const Step delete_export{"block-export-del", R"({"id": "e"})"};
  const Step close_r{"blockdev-del", R"({"node-name": "r"})"};
  const Pair pairs[] = {
      {{}, add_file("a"), {{"blockdev-del", R"({"node-name": "a"})"}}},
      {{add_file("a")}, add_raw("r", "a"), {close_r}},
      {{add_file("a"), add_raw("r", "a")}, add_export("e", "r"), {delete_export}},
      {{add_file("a"), add_export("f", "a")}, add_export("e", "a", false), {delete_export}},
      {{add_file("a"), add_export("f", "a")},
       reopen(reopened_file("a", kDirect)),
       {reopen(reopened_file("a", kCached))}},
      {{add_file("a"), add_file("b"), add_raw("r", "a"), add_export("e", "r")},
       reopen(reopened_raw("r", "b")),
       {reopen(reopened_raw("r", "a"))}},
      {{add_file("a"), add_raw("r", "a")},
       {"block_resize", R"({"node-name": "r", "size": 4096})"},
       {{"block_resize", R"({"node-name": "r", "size": 1048576})"}}},
  };
  for (const Pair& pair : pairs) {
    SCOPED_TRACE(pair.step.command + " " + pair.step.arguments);
    Daemon daemon;
    daemon.prepare(pair.before);
    const std::string before = daemon.state();
    daemon.prepare({pair.step});
    EXPECT_NE(daemon.state(), before);
    daemon.prepare(pair.back);
    EXPECT_EQ(daemon.state(), before);
  }
}

class SecondNodeTest : public testing::Test {
 protected:
  // The command fails with `message`, and the state is as before.
  void expect_refused(const Step& step, const std::string& message) {
    const std::string before = daemon_.state();
    EXPECT_EQ(daemon_.run(step), message);
    EXPECT_EQ(daemon_.state(), before);
  }
  Daemon daemon_;
};

TEST_F(SecondNodeTest, AReopenWhoseSecondNodeCannotBeLockedLeavesTheFirstAsItWas) {
  daemon_.prepare({add_file("a"), add_file("b"), add_file("c"), add_file("d"), add_raw("r", "a"), add_raw("s", "b"),
                   add_export("e", "r"), add_export("f", "s")});
  daemon_.use_elsewhere("/d");
  expect_refused(reopen(reopened_raw("r", "c"), reopened_raw("s", "d")), "Failed to get \"write\" lock");
  expect_refused(reopen(reopened_raw("s", "d"), reopened_raw("r", "c")), "Failed to get \"write\" lock");
  EXPECT_EQ(daemon_.run(reopen(reopened_raw("r", "c"), reopened_raw("s", "a"))), "");
}

TEST_F(SecondNodeTest, AReopenWhoseSecondNodeHasAWriterLeavesTheFirstAsItWas) {
  daemon_.prepare({add_file("a"), add_file("b"), add_export("e", "a"), add_export("f", "b")});
  const char* kRefused = "Read-only block node 'b' cannot support read-write users";
  expect_refused(reopen(reopened_file("a", kDirect), reopened_file("b", kReadOnly)), kRefused);
  expect_refused(reopen(reopened_file("b", kReadOnly), reopened_file("a", kDirect)), kRefused);
}

TEST_F(SecondNodeTest, AReopenWhoseSecondNodeIsMissingOrMayNotChangeLeavesTheFirstAsItWas) {
  daemon_.prepare({add_file("a"), add_file("b"), add_export("e", "a")});
  expect_refused(reopen(reopened_file("a", kDirect), reopened_file("c", kDirect)),
                 "Failed to find node with node-name='c'");
  expect_refused(reopen(reopened_file("a", kDirect), reopened_file("b", R"("locking": "off")")),
                 "Cannot change the option 'locking'");
}

TEST_F(SecondNodeTest, AGrowthThatTheFileBelowCannotTakeLeavesTheNodesAboveAsTheyWere) {
  daemon_.prepare({add_file("a"), add_raw("r", "a"), add_export("e", "r")});
  daemon_.simulation().inject({.kind = aio::OperationKind::kTruncate, .error = EFBIG});
  expect_refused({"block_resize", R"({"node-name": "r", "size": 2097152})"}, "Failed to resize file: File too large");
}

}  // namespace
}  // namespace blockexport::control
