// backup-begin, backup-end and query-backups: the checkpoints in every combination of events, and the state that each
// failure and each end leave.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "aio/testing/backends.h"
#include "block/testing/memory_driver.h"
#include "control/commands/backup_query.h"
#include "control/commands/export.h"
#include "control/testing/bare_daemon.h"

namespace blockexport::control {
namespace {

using testing::BareDaemon;

constexpr std::uint64_t kDiskBytes = 1u << 20;
constexpr std::uint64_t kGranuleBytes = 64u << 10;

aio::Task<void> attach(block::Graph& graph, std::string name, std::unique_ptr<block::Edge>& edge) {
  auto attached = co_await graph.attach(std::move(name), export_parent(), export_permissions(true));
  EXPECT_TRUE(attached);
  if (attached) edge = std::move(*attached);
}

aio::Task<void> write_granule(block::Edge& edge, std::uint64_t granule) {
  std::vector<char> bytes(kGranuleBytes, static_cast<char>('a' + granule));
  const iovec vector{bytes.data(), bytes.size()};
  EXPECT_TRUE(co_await edge.enter());
  EXPECT_TRUE(co_await edge.node().write({granule * kGranuleBytes, kGranuleBytes}, {&vector, 1}, {}));
  edge.leave();
}

aio::Task<void> query(Control& control, std::vector<schema::BackupInfo>& infos) {
  infos = co_await describe_backups(control);
}

// The node "full" is memory that a test makes fail; all other drivers are those of the daemon.
struct FullDrivers final : block::DriverTable {
  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions& node_options,
                                                         block::ChildOpener& children) override {
    if (options.node_name == "full") co_return std::make_unique<block::MemoryDriver>(full);
    co_return co_await built_in.open(options, node_options, children);
  }

  block::MemoryDriverState full{kDiskBytes};
  drivers::BuiltInDrivers built_in;
};

class BackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_.path() + "/scratch");
    for (const char* name : {"a", "b"}) {
      expect("blockdev-add",
             fmt::format(R"({{"driver": "null-co", "node-name": "{}", "size": {}}})", name, kDiskBytes));
      aio::testing::run(daemon_.reactor(), attach(graph(), name, writers_[name]));
    }
    expect("nbd-server-start", R"({"addr": {"type": "unix", "data": {"path": "@/nbd"}}})");
  }
  void TearDown() override {
    for (auto& [name, edge] : writers_) aio::testing::run(daemon_.reactor(), graph().detach(std::move(edge)));
  }

  block::Graph& graph() { return daemon_.control().graph(); }
  std::string run(const std::string& command, const std::string& arguments) {
    return daemon_.run({command, arguments});
  }
  void expect(const std::string& command, const std::string& arguments, const std::string& message = "") {
    EXPECT_EQ(run(command, arguments), message) << command << " " << arguments;
  }
  // Arguments of backup-begin: the id, the disks as JSON, and further members.
  static std::string arguments(const std::string& id, const std::string& disks, const std::string& more = "") {
    return fmt::format(R"({{"id": "{}", "disks": [{}], "scratch-directory": "@/scratch"{}}})", id, disks,
                       more.empty() ? "" : ", " + more);
  }
  void begin(const std::string& id, const std::string& checkpoint = "c",
             const std::string& disks = R"({"node-name": "a"})") {
    expect("backup-begin",
           arguments(id, disks, checkpoint.empty() ? "" : fmt::format(R"("checkpoint": "{}")", checkpoint)));
  }
  void end(const std::string& id, const std::string& outcome) {
    expect("backup-end", fmt::format(R"({{"id": "{}", "outcome": "{}"}})", id, outcome));
  }
  void write(std::uint64_t granule, const std::string& disk = "a") {
    aio::testing::run(daemon_.reactor(), write_granule(*writers_[disk], granule));
  }
  void bitmap_command(const std::string& verb, const std::string& name, const std::string& message = "") {
    expect("block-dirty-bitmap-" + verb, fmt::format(R"({{"node": "a", "name": "{}"}})", name), message);
  }

  // All bitmaps of a disk with their dirty granules: "c: 1 2; c.next off: 3".
  std::string bitmaps(const std::string& disk = "a") {
    std::map<std::string, std::string> found;
    for (const auto& bitmap : graph().find(disk)->bitmaps().list().all()) {
      std::string text = bitmap->name() + (bitmap->is_enabled() ? ":" : " off:");
      for (std::uint64_t granule = 0; granule < kDiskBytes / kGranuleBytes; ++granule) {
        if (bitmap->bits().run_at({granule * kGranuleBytes, 1}).is_dirty) text += fmt::format(" {}", granule);
      }
      found[bitmap->name()] = text;
    }
    std::string all;
    for (const auto& [name, text] : found) all += (all.empty() ? "" : "; ") + text;
    return all;
  }
  std::vector<schema::BackupInfo> query_backups() {
    std::vector<schema::BackupInfo> infos;
    aio::testing::run(daemon_.reactor(), query(daemon_.control(), infos));
    return infos;
  }

  aio::testing::TemporaryDirectory directory_;
  FullDrivers* drivers_ = new FullDrivers;  // the daemon owns it
  BareDaemon daemon_{directory_.path(), std::unique_ptr<block::DriverTable>(drivers_)};
  std::map<std::string, std::unique_ptr<block::Edge>> writers_;
};

TEST_F(BackupTest, AFullBackupWithSuccessLeavesTheCheckpointWithTheChangesSinceItsPointInTime) {
  write(1);
  begin("one");
  EXPECT_EQ(query_backups().at(0).disks.at(0).bitmap, std::nullopt);
  write(2);
  EXPECT_EQ(bitmaps(), "c.next: 2");
  end("one", "success");
  write(3);
  EXPECT_EQ(bitmaps(), "c: 2 3");
}

TEST_F(BackupTest, AFullBackupThatIsAbortedLeavesNoBitmap) {
  begin("one");
  write(2);
  end("one", "abort");
  EXPECT_EQ(bitmaps(), "");
}

TEST_F(BackupTest, AnIncrementalBackupWithSuccessLeavesOnlyTheChangesSinceItsPointInTime) {
  bitmap_command("add", "c");
  write(1);
  begin("one");
  EXPECT_EQ(query_backups().at(0).disks.at(0).bitmap, "c");
  write(2);
  EXPECT_EQ(bitmaps(), "c off: 1; c.next: 2");
  end("one", "success");
  write(3);
  EXPECT_EQ(bitmaps(), "c: 2 3");
}

TEST_F(BackupTest, AnIncrementalBackupThatIsAbortedLosesNoChange) {
  bitmap_command("add", "c");
  write(1);
  begin("one");
  write(2);
  end("one", "abort");
  write(3);
  EXPECT_EQ(bitmaps(), "c: 1 2 3");
}

TEST_F(BackupTest, ABackupWithoutACheckpointTouchesNoBitmap) {
  bitmap_command("add", "c");
  for (const char* outcome : {"success", "abort"}) {
    begin("one", "");
    write(2);
    EXPECT_EQ(bitmaps(), "c: 2");
    end("one", outcome);
  }
  EXPECT_EQ(bitmaps(), "c: 2");
}

TEST_F(BackupTest, TheNextBitmapHasTheGranularityOfTheCheckpoint) {
  expect("block-dirty-bitmap-add", R"({"node": "a", "name": "c", "granularity": 4096})");
  begin("one");
  EXPECT_EQ(graph().find("a")->bitmaps().list().find("c.next")->bits().granularity_bytes(), 4096u);
  end("one", "success");
  EXPECT_EQ(graph().find("a")->bitmaps().list().find("c")->bits().granularity_bytes(), 4096u);
}

TEST_F(BackupTest, ADiskWithoutTheCheckpointGetsAFullBackupBesideOneThatHasIt) {
  bitmap_command("add", "c");
  write(1);
  begin("one", "c", R"({"node-name": "a"}, {"node-name": "b"})");
  EXPECT_EQ(query_backups().at(0).disks.at(0).bitmap, "c");
  EXPECT_EQ(query_backups().at(0).disks.at(1).bitmap, std::nullopt);
  write(2);
  write(3, "b");
  end("one", "abort");
  EXPECT_EQ(bitmaps("a"), "c: 1 2");
  EXPECT_EQ(bitmaps("b"), "");
}

TEST_F(BackupTest, ABackupThatNeverEndedIsMergedIntoTheCheckpointFirst) {
  // As a crash leaves it: the checkpoint is frozen, and the next bitmap records.
  bitmap_command("add", "c");
  bitmap_command("add", "c.next");
  graph().find("a")->bitmaps().list().find("c")->mark({0, 1});
  graph().find("a")->bitmaps().list().find("c.next")->mark({kGranuleBytes, 1});
  bitmap_command("disable", "c");
  begin("one");
  write(5);
  EXPECT_EQ(bitmaps(), "c off: 0 1; c.next: 5");
  end("one", "abort");
  EXPECT_EQ(bitmaps(), "c: 0 1 5");
}

TEST_F(BackupTest, AFullBackupThatNeverEndedLeavesAFullBackup) {
  bitmap_command("add", "c.next");
  write(1);
  begin("one");
  EXPECT_EQ(query_backups().at(0).disks.at(0).bitmap, std::nullopt);
  write(2);
  EXPECT_EQ(bitmaps(), "c.next: 2");
  end("one", "success");
  EXPECT_EQ(bitmaps(), "c: 2");
}

TEST_F(BackupTest, ACheckpointThatTheUserRemovedMeanwhileIsMadeAgainOrStaysAway) {
  for (const auto& [outcome, left] : {std::pair("success", "c: 2"), std::pair("abort", "")}) {
    bitmap_command("add", "c");
    begin("one");
    write(2);
    bitmap_command("remove", "c", "Bitmap 'c' is currently in use by another operation and cannot be used");
    expect("block-export-del", R"({"id": "one-0"})");
    bitmap_command("remove", "c");
    end("one", outcome);
    EXPECT_EQ(bitmaps(), left);
    if (*left != '\0') bitmap_command("remove", "c");
  }
}

TEST_F(BackupTest, AnInconsistentRecordMakesTheNextBackupAFullOne) {
  bitmap_command("add", "c");
  begin("one");
  graph().find("a")->bitmaps().list().find("c.next")->make_inconsistent();
  expect("backup-end", R"({"id": "one", "outcome": "success"})",
         "Cannot end backup 'one': Bitmap 'c.next' is inconsistent and cannot be used");
  EXPECT_EQ(query_backups().size(), 1u);
  end("one", "abort");
  EXPECT_EQ(bitmaps(), "");
}

TEST_F(BackupTest, BackupsOfOneDiskWithSeveralCheckpointsEndInAnyOrder) {
  for (const bool first_ends_first : {true, false}) {
    begin("one", "c");
    write(1);
    begin("two", "d");
    write(2);
    EXPECT_EQ(bitmaps(), "c.next: 1 2; d.next: 2");
    end(first_ends_first ? "one" : "two", "success");
    write(3);
    end(first_ends_first ? "two" : "one", "success");
    EXPECT_EQ(bitmaps(), "c: 1 2 3; d: 2 3");
    EXPECT_EQ(writers_["a"]->node().name(), "a");
    bitmap_command("remove", "c");
    bitmap_command("remove", "d");
  }
}

TEST_F(BackupTest, TheStateAfterTheEndIsTheStateBefore) {
  const std::string before = daemon_.state();
  begin("one", "", R"({"node-name": "a"}, {"node-name": "b"})");
  EXPECT_NE(daemon_.state(), before);
  // The scratch files have no names any more.
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path() + "/scratch"));
  end("one", "success");
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
}

TEST_F(BackupTest, AnExportThatCannotBeMadeTakesEverythingBack) {
  bitmap_command("add", "c");
  const std::string before = daemon_.state();
  const std::string name(5000, 'x');
  const std::string disks = R"({"node-name": "a"}, {"node-name": "b", "export": ")" + name + "\"}";
  expect("backup-begin", arguments("one", disks, R"("checkpoint": "c")"), "export name '" + name + "' too long");
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
  EXPECT_EQ(bitmaps("a"), "c:");
  EXPECT_EQ(bitmaps("b"), "");
  EXPECT_TRUE(query_backups().empty());
}

TEST_F(BackupTest, TheNodesAndBitmapsOfABackupCannotBeTakenFromIt) {
  bitmap_command("add", "c");
  begin("one");
  expect("blockdev-del", R"({"node-name": "one-0-access"})", "Node one-0-access is in use");
  expect("block-export-del", R"({"id": "one-0"})");
  expect("blockdev-del", R"({"node-name": "one-0-access"})", "Node one-0-access is in use");
  expect("blockdev-del", R"({"node-name": "one-0-filter"})", "Node one-0-filter is in use");
  expect("blockdev-del", R"({"node-name": "one-0-scratch"})", "Block device one-0-scratch is in use");
  expect("blockdev-del", R"({"node-name": "a"})", "Node a is in use");
  for (const char* verb : {"remove", "clear", "disable"}) {
    bitmap_command(verb, "c.next", "Bitmap 'c.next' is currently in use by another operation and cannot be used");
  }
  end("one", "success");
}

TEST_F(BackupTest, AServerThatStopsTakesTheExportsAndNotTheBackup) {
  bitmap_command("add", "c");
  begin("one");
  EXPECT_TRUE(query_backups().at(0).disks.at(0).exported);
  EXPECT_EQ(query_backups().at(0).disks.at(0).uris.size(), 1u);
  expect("nbd-server-stop", "{}");
  write(4);
  EXPECT_FALSE(query_backups().at(0).disks.at(0).exported);
  EXPECT_TRUE(query_backups().at(0).disks.at(0).uris.empty());
  end("one", "abort");
  EXPECT_EQ(bitmaps(), "c: 4");
}

TEST_F(BackupTest, UrisOfAServerWithTlsSaySo) {
  expect("nbd-server-stop", "{}");
  expect("object-add", R"({"qom-type": "tls-creds-anon", "id": "t", "endpoint": "server"})");
  expect("nbd-server-start", R"({"addr": {"type": "unix", "data": {"path": "@/nbd"}}, "tls-creds": "t"})");
  begin("one", "", R"({"node-name": "a", "export": "x y"})");
  EXPECT_TRUE(query_backups().at(0).disks.at(0).uris.at(0).starts_with("nbds+unix:///x%20y?socket=%2F"));
  end("one", "success");
}

TEST_F(BackupTest, ANewWriterUsesTheFilterAndThenTheDisk) {
  begin("one");
  EXPECT_NE(run("block-export-add", R"({"type": "nbd", "id": "w", "node-name": "a", "name": "w", "writable": true})"),
            "");
  expect("block-export-add",
         R"({"type": "nbd", "id": "w", "node-name": "one-0-filter", "name": "w", "writable": true})");
  end("one", "success");
  EXPECT_EQ(daemon_.control().exports().find("w")->edge().node().name(), "a");
}

TEST_F(BackupTest, AnExportThatTheUserMadeUnderTheSameIdStays) {
  begin("one");
  expect("block-export-del", R"({"id": "one-0"})");
  expect("block-export-add", R"({"type": "nbd", "id": "one-0", "node-name": "b", "name": "mine"})");
  EXPECT_FALSE(query_backups().at(0).disks.at(0).exported);
  end("one", "success");
  expect("block-export-del", R"({"id": "one-0"})");
}

TEST_F(BackupTest, TheEndOfTheDaemonIsAnAbort) {
  bitmap_command("add", "c");
  write(1);
  begin("one");
  begin("two", "", R"({"node-name": "a"}, {"node-name": "b"})");
  write(2);
  aio::testing::run(daemon_.reactor(), daemon_.control().exports().remove_all(
                                           exports::RemoveMode::kFinish, [](const exports::Export&) { return true; }));
  aio::testing::run(daemon_.reactor(), daemon_.control().backups().abort_all());
  EXPECT_EQ(bitmaps(), "c: 1 2");
  EXPECT_EQ(graph().nodes().size(), 2u);
}

TEST_F(BackupTest, APointInTimeThatWasGivenUpCanOnlyBeAborted) {
  bitmap_command("add", "c");
  expect("blockdev-add", R"({"driver": "null-co", "node-name": "full"})");
  expect("backup-begin",
         arguments("one", R"({"node-name": "a", "scratch": "full"}, {"node-name": "b"})", R"("checkpoint": "c")"));
  EXPECT_EQ(query_backups().at(0).state, schema::BackupState::kActive);
  drivers_->full.error = ENOSPC;
  write(3);
  const schema::BackupInfo info = query_backups().at(0);
  EXPECT_EQ(info.state, schema::BackupState::kBroken);
  EXPECT_EQ(info.disks.at(1).state, schema::BackupState::kActive);
  expect("backup-end", R"({"id": "one", "outcome": "success"})",
         "Backup 'one' is broken and can only be ended with the outcome abort: disk 'a': The old contents of a change "
         "could not be copied to node 'full': No space left on device");
  EXPECT_TRUE(query_backups().at(0).disks.at(1).exported);
  end("one", "abort");
  EXPECT_EQ(bitmaps(), "c: 3");
  // A node that the user made stays.
  expect("blockdev-del", R"({"node-name": "full"})");
}

TEST_F(BackupTest, AFailedEndChangesNothingAndCanBeRepeated) {
  for (const char* outcome : {"success", "abort"}) {
    expect("blockdev-add", R"({"driver": "null-co", "node-name": "full"})");
    aio::testing::run(daemon_.reactor(), attach(graph(), "full", writers_["full"]));
    expect("block-dirty-bitmap-add", R"({"node": "full", "name": "c"})");
    write(1, "full");
    begin("one", "c", R"({"node-name": "a"}, {"node-name": "full"})");
    write(2, "full");
    expect("block-export-del", R"({"id": "one-0"})");
    expect("block-export-del", R"({"id": "one-1"})");
    const std::string before = daemon_.state();
    const std::string arguments = fmt::format(R"({{"id": "one", "outcome": "{}"}})", outcome);
    drivers_->full.error = EIO;
    expect("backup-end", arguments, "Cannot end backup 'one': Error flushing node 'one-1-filter': Input/output error");
    drivers_->full.error = 0;
    EXPECT_EQ(daemon_.state_that_becomes(before), before);
    EXPECT_EQ(bitmaps("full"), "c off: 1; c.next: 2");
    expect("block-dirty-bitmap-remove", R"({"node": "full", "name": "c.next"})",
           "Bitmap 'c.next' is currently in use by another operation and cannot be used");
    expect("blockdev-del", R"({"node-name": "one-1-access"})", "Node one-1-access is in use");
    expect("backup-end", arguments);
    EXPECT_EQ(bitmaps("full"), *outcome == 's' ? "c: 2" : "c: 1 2");
    aio::testing::run(daemon_.reactor(), graph().detach(std::move(writers_["full"])));
    writers_.erase("full");
    expect("blockdev-del", R"({"node-name": "full"})");
    if (*outcome == 's') bitmap_command("remove", "c");
    ASSERT_FALSE(HasFailure()) << outcome;
  }
}

TEST_F(BackupTest, ADiskThatLosesItsOtherUsersGoesWithItsBackup) {
  const std::string before = daemon_.state();
  for (const char* outcome : {"success", "abort"}) {
    expect("blockdev-add", R"({"driver": "raw", "node-name": "r",
                               "file": {"driver": "null-co", "node-name": "inner", "size": 1048576}})");
    expect("block-dirty-bitmap-add", R"({"node": "inner", "name": "c"})");
    begin("one", "c", R"({"node-name": "inner"})");
    expect("blockdev-del", R"({"node-name": "r"})");
    end("one", outcome);
    EXPECT_EQ(daemon_.state_that_becomes(before), before);
  }
}

TEST_F(BackupTest, DisksAboveEachOtherAreBackedUpTogether) {
  // The filter of the upper one keeps all other writers away.
  aio::testing::run(daemon_.reactor(), graph().detach(std::move(writers_["b"])));
  writers_.erase("b");
  expect("blockdev-add", R"({"driver": "raw", "node-name": "r", "file": "b"})");
  aio::testing::run(daemon_.reactor(), attach(graph(), "r", writers_["r"]));
  const std::string before = daemon_.state();
  begin("one", "c", R"({"node-name": "b"}, {"node-name": "r"})");
  write(2, "r");
  EXPECT_EQ(bitmaps("b"), "c.next: 2");
  EXPECT_EQ(bitmaps("r"), "c.next: 2");
  end("one", "abort");
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
}

TEST_F(BackupTest, AReadOnlyDiskCanBeBackedUp) {
  expect("blockdev-add", R"({"driver": "null-co", "node-name": "fixed", "size": 1048576, "read-only": true})");
  const std::string before = daemon_.state();
  begin("one", "", R"({"node-name": "fixed"})");
  end("one", "success");
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
}

struct Refusal {
  const char* name;
  const char* arguments;
  const char* message;
};

class BackupRefusalTest : public BackupTest, public ::testing::WithParamInterface<Refusal> {};

TEST_P(BackupRefusalTest, ChangesNothing) {
  bitmap_command("add", "off");
  bitmap_command("disable", "off");
  bitmap_command("add", "broken");
  graph().find("a")->bitmaps().list().find("broken")->make_inconsistent();
  bitmap_command("add", "exported");
  expect("block-export-add", R"({"type": "nbd", "id": "e", "node-name": "a", "name": "taken", "writable": true,
                                 "bitmaps": ["exported"]})");
  expect("blockdev-add", R"({"driver": "null-co", "node-name": "small", "size": 512})");
  expect("blockdev-add", R"({"driver": "null-co", "node-name": "used-0-filter", "size": 512})");
  expect("blockdev-add", R"({"driver": "null-co", "node-name": "spare", "size": 1048576})");
  const std::string before = daemon_.state();
  expect("backup-begin", GetParam().arguments, GetParam().message);
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
}

constexpr Refusal kRefusals[] = {
    {"NoDisk", R"({"id": "x", "disks": []})", "Parameter 'disks' expects at least one disk"},
    {"BadId", R"({"id": "#x", "disks": [{"node-name": "a"}]})", "Parameter 'id' expects an identifier"},
    {"LongId", R"({"id": "x2345678901234567890", "disks": [{"node-name": "a"}]})",
     "The id of a backup has at most 19 bytes, and 'x2345678901234567890' has 20"},
    {"NoNode", R"({"id": "x", "disks": [{"node-name": "z", "scratch": "spare"}]})",
     "Cannot find device='' nor node-name='z'"},
    {"TwiceOneNode", R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}, {"node-name": "a"}]})",
     "Node 'a' is named twice"},
    {"NoScratch", R"({"id": "x", "disks": [{"node-name": "a"}]})", "There is no scratch space for disk 'a'"},
    {"ScratchThatIsInUse", R"({"id": "x", "disks": [{"node-name": "a", "scratch": "b"}]})",
     "Node 'b' cannot be scratch space, because it is in use"},
    {"SmallScratch", R"({"id": "x", "disks": [{"node-name": "a", "scratch": "small"}]})",
     "Scratch node 'small' has 512 bytes, and disk 'a' has 1048576"},
    {"ScratchOfTwo",
     R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}, {"node-name": "b", "scratch": "spare"}]})",
     "Node 'spare' is the scratch space of two disks"},
    {"ScratchThatIsADisk",
     R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}, {"node-name": "spare"}],
         "scratch-directory": "@/scratch"})",
     "Node 'spare' is a disk and scratch space"},
    {"NameOfANode", R"({"id": "used", "disks": [{"node-name": "a", "scratch": "spare"}]})",
     "The backup needs the node name 'used-0-filter', which is in use"},
    {"NameOfAnExport", R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare", "export": "taken"}]})",
     "NBD server already has export named 'taken'"},
    {"EmptyCheckpoint", R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}], "checkpoint": ""})",
     "The name of the checkpoint is empty"},
    {"CheckpointOfARecord", R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}], "checkpoint": "c.next"})",
     "'c.next' cannot be a checkpoint"},
    {"DisabledCheckpoint", R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}], "checkpoint": "off"})",
     "Bitmap 'off' of node 'a' is disabled, so that changes may be missing in it"},
    {"InconsistentCheckpoint",
     R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}], "checkpoint": "broken"})",
     "Bitmap 'broken' of node 'a' is inconsistent, so that changes may be missing in it"},
    {"CheckpointInUse", R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}], "checkpoint": "exported"})",
     "Bitmap 'exported' of node 'a' is in use"},
    {"PersistentWithoutAStore",
     R"({"id": "x", "disks": [{"node-name": "a", "scratch": "spare"}], "checkpoint": "c", "persistent": true})",
     "Can't store persistent bitmaps to a: Operation not supported"},
};

INSTANTIATE_TEST_SUITE_P(Arguments, BackupRefusalTest, ::testing::ValuesIn(kRefusals),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(BackupTest, TwoBackupsCannotShareIdCheckpointOrScratchSpace) {
  expect("blockdev-add", R"({"driver": "null-co", "node-name": "spare", "size": 1048576})");
  expect("backup-begin", arguments("one", R"({"node-name": "a", "scratch": "spare"})", R"("checkpoint": "c")"));
  expect("backup-begin", arguments("one", R"({"node-name": "b"})"), "Backup 'one' exists already");
  expect("backup-begin", arguments("two", R"({"node-name": "a"})", R"("checkpoint": "c")"),
         "Checkpoint 'c' of node 'a' is used by backup 'one'");
  expect("backup-begin", arguments("two", R"({"node-name": "b", "scratch": "spare"})"),
         "Node 'spare' cannot be scratch space, because it is in use");
  end("one", "success");
  expect("backup-end", R"({"id": "one", "outcome": "abort"})", "Backup 'one' not found");
}

TEST_F(BackupTest, AMissingDirectoryOrServerIsAnError) {
  expect("backup-begin", R"({"id": "x", "disks": [{"node-name": "a"}], "scratch-directory": "@/missing"})",
         fmt::format("Cannot make a scratch file of {} bytes in '{}/missing': No such file or directory", kDiskBytes,
                     directory_.path()));
  expect("nbd-server-stop", "{}");
  expect("backup-begin", arguments("x", R"({"node-name": "a"})"), "NBD server not running");
  EXPECT_TRUE(query_backups().empty());
}

}  // namespace
}  // namespace blockexport::control
