// Reloads of a configuration: each takes effect as a whole, or changes nothing. On the host's own files and sockets.
#include "control/configuration/reload.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "control/configuration/test_daemon.h"
#include "control/testing/failing_calls.h"
#include "schema/block_core_commands.h"
#include "schema/block_export_commands.h"
#include "schema/qom_commands.h"

namespace blockexport::control {
namespace {

using testing::ConfiguredDaemon;
using testing::FailingCalls;

constexpr std::uint64_t kCallsMax = 500;

class ReloadTest : public ::testing::Test {
 protected:
  ReloadTest() {
    for (const char* image : {"a.img", "b.img", "c.img"}) {
      std::ofstream(folder_.path(image)) << "";
      std::filesystem::resize_file(folder_.path(image), 1 << 20);
    }
  }

  // Writes the main file; "@" stands for the directory.
  void write(const std::string& text) { folder_.write("main.toml", expanded(text)); }
  std::string expanded(std::string text) const {
    for (std::size_t at = text.find('@'); at != std::string::npos; at = text.find('@')) {
      text.replace(at, 1, folder_.path(""));
    }
    return text;
  }

  configuration::testing::ConfigurationFolder folder_;
};

constexpr const char* kServer = "[servers.default]\nlisten = [\"unix:@nbd.sock\"]\n";
constexpr const char* kA = "[exports.a]\nwritable = true\nnode = { driver = \"file\", filename = \"@a.img\" }\n";
constexpr const char* kB = "[exports.b]\nnode = { driver = \"file\", filename = \"@b.img\" }\n";

TEST_F(ReloadTest, StartsWithEverything) {
  write(std::string("[objects.io]\nqom-type = \"iothread\"\n"
                    "[objects.s]\nqom-type = \"secret\"\ndata = \"x\"\n"
                    "[chardevs.c]\nbackend = \"socket\"\naddr = { type = \"unix\", path = \"@qmp.sock\" }\n"
                    "[monitors.m]\nchardev = \"c\"\n"
                    "[nodes.top]\ndriver = \"raw\"\nfile = \"disk\"\n"
                    "[nodes.disk]\ndriver = \"file\"\nfilename = \"@c.img\"\n"
                    "[exports.shared]\nnode-name = \"top\"\niothread = \"io\"\nname = \"some/name\"\n") +
        kServer + kA);
  ConfiguredDaemon daemon(folder_);
  EXPECT_EQ(daemon.start(), "");
  const schema::ConfigurationInfo info = daemon.configurator().info();
  EXPECT_EQ(info.objects.size(), 9U);
  for (const schema::ConfiguredObject& one : info.objects) {
    EXPECT_EQ(one.origin, schema::ObjectOrigin::kFile) << one.section << one.id;
    EXPECT_FALSE(one.drift) << one.section << one.id << *one.drift;
  }
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "");
}

TEST_F(ReloadTest, StartsWithoutExports) {
  write("");
  ConfiguredDaemon daemon(folder_);
  EXPECT_EQ(daemon.start(), "");
}

TEST_F(ReloadTest, TouchesOnlyWhatDiffers) {
  write(std::string(kServer) + kA + kB);
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  const auto number = daemon.control().exports().find("b")->number();
  write(std::string(kServer) + "[exports.a]\nnode = { driver = \"file\", filename = \"@c.img\" }\n" + kB);
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "exports.a replace\n");
  EXPECT_EQ(daemon.control().exports().find("b")->number(), number);
  EXPECT_NE(daemon.summary().find(expanded("@c.img")), std::string::npos) << daemon.summary();
  EXPECT_EQ(daemon.summary().find(expanded("@a.img")), std::string::npos) << daemon.summary();
}

TEST_F(ReloadTest, ReopensTheSameImage) {
  write(std::string(kServer) + kA);
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  const auto number = daemon.control().exports().find("a")->number();
  write(std::string(kServer) +
        "[exports.a]\nwritable = true\nnode = { driver = \"file\", filename = \"@a.img\", discard = \"unmap\" }\n");
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "exports.a change\n");
  EXPECT_EQ(daemon.control().exports().find("a")->number(), number);
  EXPECT_EQ(daemon.control().graph().find("a")->options().discard, block::DiscardMode::kUnmap);
}

TEST_F(ReloadTest, GivesAReplacedExportTheSameImage) {
  write(std::string(kServer) + kA);
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  write(std::string(kServer) + kA + "name = \"other\"\n");
  const std::string text = std::string(kServer) +
                           "[exports.a]\nwritable = true\nname = \"other\"\n"
                           "node = { driver = \"file\", filename = \"@a.img\" }\n";
  write(text);
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "exports.a replace\n");
  EXPECT_NE(daemon.summary().find("name other"), std::string::npos) << daemon.summary();
}

TEST_F(ReloadTest, MakesANodeReadOnlyWhoseWriterLeaves) {
  write(
      "[nodes.n]\ndriver = \"raw\"\nfile = { driver = \"file\", filename = \"@a.img\" }\n"
      "[exports.a]\nwritable = true\nnode-name = \"n\"\n");
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  write(
      "[nodes.n]\ndriver = \"raw\"\nread-only = true\nfile = { driver = \"file\", filename = \"@a.img\" }\n"
      "[exports.b]\nnode-name = \"n\"\n");
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "nodes.n replace\nexports.a remove\nexports.b add\n");
  EXPECT_TRUE(daemon.control().graph().find("n")->read_only());
}

TEST_F(ReloadTest, ReplacesASharedNodeAndEverythingAbove) {
  const std::string above =
      "[nodes.top]\ndriver = \"raw\"\nfile = \"disk\"\n[exports.x]\nwritable = true\nnode-name = \"top\"\n";
  write("[nodes.disk]\ndriver = \"file\"\nfilename = \"@a.img\"\n" + above);
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  write("[nodes.disk]\ndriver = \"file\"\nfilename = \"@b.img\"\n" + above);
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "nodes.disk replace\nnodes.top replace\nexports.x replace\n");
  EXPECT_EQ(daemon.control().graph().nodes().size(), 2U);
}

TEST_F(ReloadTest, ChangesNothingAfterAnError) {
  write(std::string(kServer) + kA);
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  const std::string before = daemon.bare().state();
  write(std::string(kServer) + kA + kB + "[exports.c]\nnode = { driver = \"file\", filename = \"@absent.img\" }\n");
  const std::string error = daemon.reload();
  EXPECT_NE(error.find(":8:10: exports.c: Could not open"), std::string::npos) << error;
  folder_.write("main.toml", expanded(std::string(kServer) + kA));
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "");
  EXPECT_EQ(daemon.bare().state_that_becomes(before), before);
  write("[nonsense]\n");
  EXPECT_NE(daemon.reload().find("Parameter 'nonsense' is unexpected"), std::string::npos);
  EXPECT_EQ(daemon.configurator().info().failed_reloads, 2U);
  EXPECT_TRUE(daemon.configurator().info().last_error);
}

TEST_F(ReloadTest, OnlyTellsTheDifferencesInADryRun) {
  write(std::string(kServer) + kA);
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  const std::string before = daemon.summary();
  write(kServer);
  EXPECT_EQ(daemon.reload({.is_dry_run = true}), "");
  EXPECT_EQ(daemon.differences(), "exports.a remove\n");
  EXPECT_EQ(daemon.summary(), before);
}

TEST_F(ReloadTest, LeavesAloneWhatCommandsMade) {
  write(std::string(kServer) + kA);
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  EXPECT_EQ(daemon.bare().run({"blockdev-add", R"({"driver": "null-co", "node-name": "mine"})"}), "");
  EXPECT_EQ(daemon.bare().run({"object-add", R"({"qom-type": "iothread", "id": "io"})"}), "");
  write("");
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "servers.default remove\nexports.a remove\n");
  EXPECT_NE(daemon.control().graph().find("mine"), nullptr);
  EXPECT_NE(daemon.control().objects().find("io"), nullptr);
  EXPECT_EQ(daemon.control().exports().find("a"), nullptr);
  EXPECT_EQ(daemon.control().servers().find("default"), nullptr);
  write("[nodes.mine]\ndriver = \"null-co\"\n");
  EXPECT_NE(daemon.reload().find("A node 'mine' exists, which no configuration file made"), std::string::npos);
}

TEST_F(ReloadTest, RefusesToTakeANodeFromOtherUsers) {
  write("[nodes.disk]\ndriver = \"file\"\nfilename = \"@a.img\"\n" + std::string(kServer));
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  EXPECT_EQ(daemon.bare().run({"block-export-add", R"({"type": "nbd", "id": "x", "node-name": "disk"})"}), "");
  const std::string before = daemon.summary();
  write(kServer);
  EXPECT_NE(daemon.reload().find("Node 'disk' would be removed or replaced, and is used by"), std::string::npos);
  EXPECT_EQ(daemon.summary(), before);
}

TEST_F(ReloadTest, UndoesDrift) {
  write(std::string(kServer) + kA + kB +
        "[objects.io]\nqom-type = \"iothread\"\npoll-max-ns = 5\n[nodes.n]\ndriver = \"null-co\"\n");
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  const std::string before = daemon.summary();
  EXPECT_EQ(daemon.bare().run({"block-export-del", R"({"id": "a"})"}), "");
  EXPECT_EQ(daemon.bare().run({"qom-set", R"({"path": "/objects/io", "property": "poll-max-ns", "value": 7})"}), "");
  EXPECT_EQ(daemon.bare().run(
                {"blockdev-reopen", R"({"options": [{"driver": "null-co", "node-name": "n", "discard": "unmap"}]})"}),
            "");
  std::map<std::string, std::string> drift;
  for (const schema::ConfiguredObject& one : daemon.configurator().info().objects) {
    if (one.drift) drift[one.section + "." + one.id] = *one.drift;
  }
  EXPECT_EQ(drift, (std::map<std::string, std::string>{{"exports.a", "removed by a command"},
                                                       {"nodes.n", "reopened by a command"},
                                                       {"objects.io", "changed by a command"}}));
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "objects.io change\nnodes.n change\nexports.a add\n");
  EXPECT_EQ(daemon.summary(), before);
}

TEST_F(ReloadTest, LeavesOptionsOfTheProcessToARestart) {
  write("[daemon]\nreactors = 1\n");
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  write("[daemon]\nreactors = 2\n");
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "daemon.reactors restart\n");
  EXPECT_EQ(daemon.configurator().info().restart_needed, std::vector<std::string>{"reactors"});
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "daemon.reactors restart\n");
}

TEST_F(ReloadTest, ChangesTheLogAndTheMetrics) {
  write("[daemon]\nlog = { level = \"error\" }\nmetrics = { listen = [\"unix:@m.sock\"] }\n");
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  EXPECT_EQ(daemon.metrics().addresses(), std::vector<std::string>{expanded("unix:@m.sock")});
  EXPECT_EQ(daemon.log(), "unchanged");
  write(
      "[daemon]\nlog = { level = \"debug\", file = \"@log\" }\n"
      "metrics = { listen = [\"unix:@m.sock\", \"127.0.0.1:0\"] }\n");
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "daemon.log.level change\ndaemon.metrics.listen change\ndaemon.log.file restart\n");
  EXPECT_EQ(daemon.metrics().addresses(), (std::vector<std::string>{expanded("unix:@m.sock"), "127.0.0.1:0"}));
  EXPECT_NE(daemon.log().find("debug"), std::string::npos) << daemon.log();
  EXPECT_EQ(daemon.configurator().info().restart_needed, std::vector<std::string>{"log.file"});
  write("");
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "daemon.log.level change\ndaemon.metrics.listen change\n");
  EXPECT_TRUE(daemon.metrics().addresses().empty());
  EXPECT_FALSE(std::filesystem::exists(folder_.path("m.sock")));
  EXPECT_EQ(daemon.log(), "{}");
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "");
}

TEST_F(ReloadTest, KeepsTheProcessOptionsAfterAnError) {
  write("[daemon]\nmetrics = { listen = [\"unix:@m.sock\"] }\n");
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  write("[daemon]\nlog = { level = \"debug\" }\nmetrics = { listen = [\"unix:@absent/m.sock\"] }\n");
  EXPECT_NE(daemon.reload().find(":3:1: daemon.metrics: Failed to bind"), std::string::npos);
  write("[daemon]\nlog = { format = \"journal\" }\nmetrics = { listen = [\"unix:@n.sock\"] }\n");
  EXPECT_NE(daemon.reload().find(":2:1: daemon.log: no journal"), std::string::npos);
  write(std::string("[daemon]\nlog = { level = \"debug\" }\nmetrics = { listen = [\"unix:@n.sock\"] }\n") +
        "[exports.c]\nnode = { driver = \"file\", filename = \"@absent.img\" }\n");
  EXPECT_NE(daemon.reload().find("exports.c: Could not open"), std::string::npos);
  EXPECT_EQ(daemon.log(), "unchanged");
  EXPECT_EQ(daemon.metrics().addresses(), std::vector<std::string>{expanded("unix:@m.sock")});
  EXPECT_FALSE(std::filesystem::exists(folder_.path("n.sock")));
}

TEST_F(ReloadTest, OptionsOfTheCommandLineHavePriority) {
  write("[daemon]\nmetrics = { listen = [\"unix:@m.sock\"] }\nlog = { level = \"info\", format = \"text\" }\n");
  ConfiguredDaemon daemon(folder_);
  daemon.put_on_command_line({"metrics", "log.level", "sandbox"});
  ASSERT_EQ(daemon.start(), "");
  EXPECT_TRUE(daemon.metrics().addresses().empty());
  write(
      "[daemon]\nmetrics = { listen = [\"unix:@n.sock\"] }\nlog = { level = \"debug\", format = \"text\" }\n"
      "sandbox = { mode = \"seccomp\" }\nuser = \"nobody\"\n");
  EXPECT_EQ(daemon.reload(), "");
  EXPECT_EQ(daemon.differences(), "daemon.user restart\n");
  std::vector<std::string> options;
  for (const schema::ConfiguredObject& one : daemon.configurator().info().objects) {
    options.push_back(one.id + " " + std::string(schema::name_of(one.origin)) + (one.drift ? " " + *one.drift : ""));
  }
  EXPECT_EQ(options, (std::vector<std::string>{"log.level command-line", "metrics command-line", "sandbox command-line",
                                               "log.format file", "user file needs a restart"}));
}

TEST_F(ReloadTest, HidesTheDataOfSecrets) {
  write("[objects.s]\nqom-type = \"secret\"\ndata = \"geheim\"\n");
  ConfiguredDaemon daemon(folder_);
  ASSERT_EQ(daemon.start(), "");
  const auto info = daemon.configurator().info();
  ASSERT_EQ(info.configuration.objects.size(), 1U);
  EXPECT_EQ(std::get<schema::SecretProperties>(info.configuration.objects[0].branch).data->view(), "(hidden)");
}

// Each call to the kernel fails in turn during a reload that adds, replaces, reopens and removes: it succeeds without
// the call, or nothing has changed, and it succeeds when repeated.
TEST_F(ReloadTest, ChangesNothingWhicheverCallFails) {
  folder_.write("list", R"({"rules": []})");
  const std::string first = std::string(kServer) +
                            "[objects.old]\nqom-type = \"authz-list-file\"\nfilename = \"@list\"\n"
                            "[nodes.n]\ndriver = \"raw\"\nfile = { driver = \"file\", filename = \"@c.img\" }\n" +
                            kA + kB;
  const std::string second =
      "[servers.default]\nlisten = [\"unix:@nbd.sock\", \"unix:@other.sock\"]\n"
      "[servers.more]\nlisten = [\"127.0.0.1:0\"]\n"
      "[daemon]\nmetrics = { listen = [\"unix:@m.sock\", \"127.0.0.1:0\"] }\n"
      "[objects.new]\nqom-type = \"authz-list-file\"\nfilename = \"@list\"\n"
      "[objects.io]\nqom-type = \"iothread\"\n"
      "[chardevs.c]\nbackend = \"file\"\nout = \"/dev/null\"\n"
      "[nodes.n]\ndriver = \"raw\"\nfile = { driver = \"file\", filename = \"@b.img\" }\n"
      "[exports.a]\nwritable = true\nnode = { driver = \"file\", filename = \"@a.img\", discard = \"unmap\" }\n"
      "[exports.n]\nnode-name = \"n\"\niothread = \"io\"\n";
  // Opens the files that the process opens once and keeps.
  {
    write(first);
    ConfiguredDaemon daemon(folder_);
    ASSERT_EQ(daemon.start(), "");
    write(second);
    ASSERT_EQ(daemon.reload(), "");
  }
  std::uint64_t number = 0;
  bool has_failed = false;
  for (bool was_met = true; was_met && !HasFailure(); ++number) {
    ASSERT_LT(number, kCallsMax);
    write(first);
    ConfiguredDaemon daemon(folder_);
    ASSERT_EQ(daemon.start(), "");
    // Starts the threads that open files.
    write(second);
    ASSERT_EQ(daemon.reload(), "");
    write(first);
    ASSERT_EQ(daemon.reload(), "");
    write(second);
    const std::string before = daemon.bare().state();
    const std::string summary = daemon.summary();
    std::string message;
    std::string refused;
    {
      FailingCalls failing(number);
      message = daemon.reload();
      was_met = failing.refusals() > 0;
      refused = failing.refused();
    }
    SCOPED_TRACE(::testing::Message() << "call " << number << ": " << refused << ": " << message);
    if (!message.empty()) {
      has_failed = true;
      EXPECT_EQ(daemon.summary(), summary);
      EXPECT_EQ(daemon.bare().state_that_becomes(before), before);
      EXPECT_EQ(daemon.reload(), "");
    }
    EXPECT_NE(daemon.summary(), summary);
    EXPECT_EQ(daemon.reload({.is_dry_run = true}), "");
    EXPECT_EQ(daemon.differences(), "");
  }
  EXPECT_TRUE(has_failed);
}

}  // namespace
}  // namespace blockexport::control
