// Things of QMP commands are made again by another daemon; whichever call fails, the file has one complete state.
#include "control/configuration/runtime_keeper.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "control/configuration/test_daemon.h"
#include "control/testing/failing_calls.h"

namespace blockexport::control {
namespace {

using testing::ConfiguredDaemon;
using testing::FailingCalls;

class RuntimeKeeperTest : public ::testing::Test {
 protected:
  RuntimeKeeperTest() {
    std::filesystem::create_directory(folder_.path("state"));
    folder_.write("main.toml", "");
  }

  // A daemon with the files, and with what the commands of former ones have made.
  class KeptDaemon {
   public:
    explicit KeptDaemon(const configuration::testing::ConfigurationFolder& folder)
        : daemon_(folder),
          keeper_(
              daemon_.control(),
              [this](auto section, const std::string& id) { return daemon_.configurator().place_of(section, id); },
              folder.path("state")) {
      EXPECT_EQ(daemon_.start(), "");
      error_ = daemon_.bare().run(keeper_.start());
      if (error_.empty()) daemon_.control().set_command_observer(&keeper_);
    }
    std::string run(const testing::Step& step) { return daemon_.bare().run(step); }
    const std::string& error() const { return error_; }
    ConfiguredDaemon& daemon() { return daemon_; }
    RuntimeKeeper& keeper() { return keeper_; }

   private:
    ConfiguredDaemon daemon_;
    RuntimeKeeper keeper_;
    std::string error_;
  };

  std::string content() const {
    std::ifstream file(folder_.path("state/runtime.json"));
    return {std::istreambuf_iterator<char>(file), {}};
  }

  configuration::testing::ConfigurationFolder folder_;
};

// One thing of each kind, and changes of them.
const testing::Step kCommands[] = {
    {"object-add", R"({"qom-type": "iothread", "id": "io", "poll-max-ns": 5})"},
    {"object-add", R"({"qom-type": "throttle-group", "id": "g", "x-iops-total": 5})"},
    {"qom-set", R"({"path": "/objects/io", "property": "poll-max-ns", "value": 7})"},
    {"qom-set", R"({"path": "/objects/g", "property": "limits", "value": {"iops-total": 9}})"},
    {"chardev-add", R"({"id": "c", "backend": {"type": "socket", "data": {"addr": {"type": "unix", "data":
                       {"path": "@/qmp.sock"}}, "wait": false}}})"},
    {"object-add", R"({"qom-type": "monitor-qmp", "id": "m", "chardev": "c"})"},
    {"blockdev-add", R"({"driver": "raw", "node-name": "disk", "file": {"driver": "null-co", "size": 65536}})"},
    {"blockdev-add", R"({"driver": "raw", "node-name": "calm", "file": "disk"})"},
    {"nbd-server-start", R"({"addr": {"type": "unix", "data": {"path": "@/nbd.sock"}}, "max-connections": 3})"},
    {"nbd-servers-add", R"({"id": "more", "listen": ["unix:@/more.sock"], "access": "read-only"})"},
    {"block-export-add", R"({"type": "nbd", "id": "e", "node-name": "calm", "writable": true, "iothread": "io",
                             "description": "text", "name": "a/b"})"},
    {"nbd-server-add", R"({"device": "disk", "name": "old"})"},
    {"blockdev-reopen", R"({"options": [{"driver": "raw", "node-name": "disk", "discard": "unmap",
                            "file": {"driver": "null-co", "size": 65536}}]})"},
};

TEST_F(RuntimeKeeperTest, MakesAgainWhatCommandsHaveMade) {
  std::string before;
  {
    KeptDaemon first(folder_);
    ASSERT_EQ(first.error(), "");
    for (const testing::Step& step : kCommands) {
      if (step.command == "nbd-server-add") continue;
      ASSERT_EQ(first.run(step), "") << step.command << step.arguments;
    }
    before = first.daemon().summary();
  }
  const std::string text = content();
  KeptDaemon second(folder_);
  EXPECT_EQ(second.error(), "");
  EXPECT_EQ(second.daemon().summary(), before);
  EXPECT_EQ(content(), text);
  EXPECT_TRUE(second.keeper().info().not_restored.empty());
}

TEST_F(RuntimeKeeperTest, ForgetsWhatCommandsHaveRemoved) {
  {
    KeptDaemon first(folder_);
    for (const testing::Step& step : kCommands) (void)first.run(step);
    for (const testing::Step& step : std::initializer_list<testing::Step>{{"block-export-del", R"({"id": "e"})"},
                                                                          {"nbd-server-stop"},
                                                                          {"nbd-servers-remove", R"({"id": "more"})"},
                                                                          {"blockdev-del", R"({"node-name": "calm"})"},
                                                                          {"object-del", R"({"id": "g"})"},
                                                                          {"object-del", R"({"id": "io"})"},
                                                                          {"object-del", R"({"id": "m"})"},
                                                                          {"chardev-remove", R"({"id": "c"})"}}) {
      EXPECT_EQ(first.run(step), "") << step.command;
    }
  }
  const std::string text = content();
  EXPECT_NE(text.find("\"disk\""), std::string::npos);
  for (const char* gone : {"\"calm\"", "\"io\"", "\"g\"", "\"more\"", "default-server", "\"e\"", "qmp.sock", "\"m\""}) {
    EXPECT_EQ(text.find(gone), std::string::npos) << gone << "\n" << text;
  }
}

TEST_F(RuntimeKeeperTest, KeepsNoDataOfSecrets) {
  {
    KeptDaemon first(folder_);
    EXPECT_EQ(first.run({"object-add", R"({"qom-type": "secret", "id": "s", "data": "geheim"})"}), "");
    EXPECT_EQ(first.run({"object-add", R"({"qom-type": "iothread", "id": "io"})"}), "");
  }
  EXPECT_EQ(content().find("geheim"), std::string::npos);
  EXPECT_NE(content().find("\"io\""), std::string::npos);
}

TEST_F(RuntimeKeeperTest, GivesWayToTheFiles) {
  {
    KeptDaemon first(folder_);
    EXPECT_EQ(first.run({"object-add", R"({"qom-type": "iothread", "id": "io"})"}), "");
    EXPECT_EQ(first.run({"blockdev-add", R"({"driver": "null-co", "node-name": "mine"})"}), "");
  }
  folder_.write("main.toml", "[objects.io]\nqom-type = \"authz-simple\"\nidentity = \"x\"\n");
  KeptDaemon second(folder_);
  EXPECT_EQ(second.error(), "");
  EXPECT_EQ(second.daemon().control().objects().find("io")->type_name(), "authz-simple");
  EXPECT_NE(second.daemon().control().graph().find("mine"), nullptr);
  EXPECT_EQ(content().find("iothread"), std::string::npos) << content();
  EXPECT_TRUE(second.keeper().info().not_restored.empty());
}

TEST_F(RuntimeKeeperTest, KeepsWhatCannotBeMadeForTheNextStart) {
  std::ofstream(folder_.path("image")) << std::string(65536, 'x');
  {
    KeptDaemon first(folder_);
    EXPECT_EQ(first.run({"blockdev-add", R"({"driver": "file", "node-name": "n", "filename": "@/image"})"}), "");
  }
  const std::string text = content();
  std::filesystem::rename(folder_.path("image"), folder_.path("elsewhere"));
  {
    KeptDaemon second(folder_);
    EXPECT_EQ(second.error(), "");
    const schema::RuntimeInfo info = second.keeper().info();
    ASSERT_EQ(info.not_restored.size(), 1U);
    EXPECT_EQ(info.not_restored[0].section + "." + info.not_restored[0].id, "nodes.n");
    EXPECT_NE(info.not_restored[0].reason.find("No such file"), std::string::npos);
    EXPECT_EQ(second.run({"object-add", R"({"qom-type": "iothread", "id": "io"})"}), "");
    EXPECT_NE(content().find("/image"), std::string::npos);
  }
  std::filesystem::rename(folder_.path("elsewhere"), folder_.path("image"));
  KeptDaemon third(folder_);
  EXPECT_NE(third.daemon().control().graph().find("n"), nullptr);
  EXPECT_EQ(third.run({"blockdev-del", R"({"node-name": "n"})"}), "");
  EXPECT_EQ(content().find("/image"), std::string::npos);
}

TEST_F(RuntimeKeeperTest, RefusesAFileWithErrorsAsAWhole) {
  {
    KeptDaemon first(folder_);
    EXPECT_EQ(first.run({"object-add", R"({"qom-type": "iothread", "id": "io"})"}), "");
  }
  std::string text = content();
  text.replace(text.find("\"nodes\": []"), 11, "\"nodes\": [\n{\"driver\": \"null-co\"}]");
  folder_.write("state/runtime.json", text);
  {
    KeptDaemon second(folder_);
    EXPECT_EQ(second.error(), folder_.path("state/runtime.json") + ":9:1: A node needs a node-name");
    EXPECT_EQ(second.daemon().control().objects().find("io"), nullptr);
  }
  EXPECT_EQ(content(), text);
  folder_.write("state/runtime.json", "{}", 0622);
  KeptDaemon third(folder_);
  EXPECT_NE(third.error().find("lets other users change it"), std::string::npos) << third.error();
}

TEST_F(RuntimeKeeperTest, IsForOneProcessAtATime) {
  KeptDaemon first(folder_);
  KeptDaemon second(folder_);
  EXPECT_NE(second.error().find("another process uses"), std::string::npos) << second.error();
}

TEST_F(RuntimeKeeperTest, NeedsADirectoryThatItCanWrite) {
  std::filesystem::remove(folder_.path("state"));
  KeptDaemon daemon(folder_);
  EXPECT_NE(daemon.error().find("daemon.state-dir: cannot use"), std::string::npos) << daemon.error();
}

// Whichever call fails during a command, the file has the state before it or behind it, and a later command corrects
// it.
TEST_F(RuntimeKeeperTest, HasACompleteStateWhicheverCallFails) {
  bool has_failed = false;
  for (std::uint64_t number = 0;; ++number) {
    ASSERT_LT(number, 100U);
    std::filesystem::remove(folder_.path("state/runtime.json"));
    KeptDaemon daemon(folder_);
    ASSERT_EQ(daemon.error(), "");
    ASSERT_EQ(daemon.run({"object-add", R"({"qom-type": "authz-simple", "id": "a", "identity": "x"})"}), "");
    const std::string before = content();
    bool was_met = false;
    {
      FailingCalls failing(number);
      EXPECT_EQ(daemon.run({"object-add", R"({"qom-type": "authz-simple", "id": "b", "identity": "x"})"}), "");
      was_met = failing.refusals() > 0;
    }
    SCOPED_TRACE(number);
    const std::string after = content();
    const bool has_error = daemon.keeper().info().error.has_value();
    has_failed = has_failed || has_error;
    // A directory that could not be flushed has the new content.
    EXPECT_TRUE(after != before || has_error);
    EXPECT_TRUE(after == before || after.find("\"b\"") != std::string::npos) << after;
    ASSERT_EQ(daemon.run({"object-add", R"({"qom-type": "authz-simple", "id": "c", "identity": "x"})"}), "");
    EXPECT_FALSE(daemon.keeper().info().error);
    EXPECT_NE(content().find("\"b\""), std::string::npos);
    EXPECT_NE(content().find("\"c\""), std::string::npos);
    if (!was_met) break;
  }
  EXPECT_TRUE(has_failed);
}

}  // namespace
}  // namespace blockexport::control
