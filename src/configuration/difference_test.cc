#include "configuration/difference.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "configuration/test_files.h"

namespace blockexport::configuration {
namespace {

using schema::ConfigurationAction;

// "SECTION.ID ACTION OPTION,OPTION", one a line, in order.
std::string text_of(const Differences& differences) {
  std::string text;
  for (const std::string& option : differences.live_options) text += "daemon." + option + " change\n";
  for (const std::string& option : differences.daemon_options) text += "daemon." + option + "\n";
  for (const Difference& one : differences.list) {
    text += fmt::format("{}.{} {}", name_of(one.section), one.id, schema::name_of(one.action));
    if (!one.options.empty()) text += " " + fmt::format("{}", fmt::join(one.options, ","));
    if (one.node == NodeEffect::kReopen) text += " (reopen)";
    text += "\n";
  }
  return text;
}

class DifferenceTest : public ::testing::Test {
 protected:
  std::string between(const std::string& before, const std::string& after) {
    folder_.write("main.toml", before);
    const ReadConfiguration first = folder_.read();
    EXPECT_EQ(first.findings.text(), "");
    folder_.write("main.toml", after);
    const ReadConfiguration second = folder_.read();
    EXPECT_EQ(second.findings.text(), "");
    return text_of(difference(first.content, second.content));
  }

  testing::ConfigurationFolder folder_;
};

constexpr const char* kExport = "[exports.a]\nnode = { driver = \"null-co\" }\n";

TEST_F(DifferenceTest, SeesNoneBetweenDefaultsAndTheirOmission) {
  EXPECT_EQ(
      between(kExport,
              "[exports.a]\nname = \"a\"\nwritable = false\non-remove = \"safe\"\n"
              "node = { driver = \"null-co\", read-only = false, cache = { direct = false }, node-name = \"a\" }\n"),
      "");
}

TEST_F(DifferenceTest, AddsAndRemoves) {
  EXPECT_EQ(between(kExport, "[nodes.n]\ndriver = \"null-co\"\n[exports.b]\nnode-name = \"n\"\n"),
            "nodes.n add\nexports.a remove\nexports.b add\n");
}

TEST_F(DifferenceTest, ChangesWhatClientsDoNotNotice) {
  EXPECT_EQ(between(kExport, std::string(kExport) + "description = \"x\"\non-remove = \"hard\"\n"),
            "exports.a change description,on-remove\n");
  const std::string server = "[servers.s]\nlisten = [\"unix:/s\"]\n";
  EXPECT_EQ(between(server + kExport, server + kExport + "servers = [\"s\"]\n"), "exports.a change servers\n");
  EXPECT_EQ(between("[exports.a]\nnode = { driver = \"file\", filename = \"/x\" }\n",
                    "[exports.a]\nnode = { driver = \"file\", filename = \"/x\", discard = \"unmap\" }\n"),
            "exports.a change node.discard (reopen)\n");
  EXPECT_EQ(between("[objects.g]\nqom-type = \"throttle-group\"\n",
                    "[objects.g]\nqom-type = \"throttle-group\"\nlimits = { iops-total = 7 }\n"),
            "objects.g change limits\n");
}

TEST_F(DifferenceTest, ReplacesTheRest) {
  EXPECT_EQ(between(kExport, std::string(kExport) + "writable = true\n"), "exports.a replace writable\n");
  EXPECT_EQ(between("[exports.a]\nnode = { driver = \"file\", filename = \"/x\" }\n",
                    "[exports.a]\nnode = { driver = \"file\", filename = \"/y\" }\n"),
            "exports.a replace node.filename\n");
}

TEST_F(DifferenceTest, ReplacesEverythingAboveAReplacedNode) {
  const std::string above = "[nodes.top]\ndriver = \"raw\"\nfile = \"base\"\n[exports.a]\nnode-name = \"top\"\n";
  EXPECT_EQ(between("[nodes.base]\ndriver = \"file\"\nfilename = \"/x\"\n" + above,
                    "[nodes.base]\ndriver = \"file\"\nfilename = \"/y\"\n" + above),
            "nodes.base replace filename\nnodes.top replace\nexports.a replace\n");
}

TEST_F(DifferenceTest, ReplacesCredentialsWhosePasswordChanged) {
  const std::string creds = "[objects.a]\nqom-type = \"tls-creds-x509\"\ndir = \"/x\"\npasswordid = \"s\"\n";
  EXPECT_EQ(between(creds + "[objects.s]\nqom-type = \"secret\"\ndata = \"1\"\n",
                    creds + "[objects.s]\nqom-type = \"secret\"\ndata = \"2\"\n"),
            "objects.a replace passwordid\nobjects.s replace data\n");
}

TEST_F(DifferenceTest, ChangesTheLogAndTheMetricsAtOnce) {
  EXPECT_EQ(between("", "[daemon]\nlog = { level = \"debug\", file = \"/x\" }\nmetrics = { listen = [\"unix:/m\"] }\n"),
            "daemon.log.level change\ndaemon.metrics.listen change\ndaemon.log.file\n");
  EXPECT_EQ(between("[daemon]\nlog = { format = \"json\" }\n", ""), "daemon.log.format change\n");
}

TEST_F(DifferenceTest, SeesNoneBetweenDefaultsOfTheProcessAndTheirOmission) {
  EXPECT_EQ(between("",
                    "[daemon]\naio-backend = \"auto\"\nimage-references = [\"allow\"]\npolling = \"auto\"\n"
                    "shutdown-grace-seconds = 1\nlog = { format = \"auto\" }\nsandbox = { mode = \"off\" }\n"),
            "");
}

TEST_F(DifferenceTest, LeavesProcessOptionsToARestart) {
  EXPECT_EQ(between("[daemon]\nsandbox = { mode = \"full\", images = [\"/a\"] }\nuser = \"a\"\npolling = \"off\"\n",
                    "[daemon]\nsandbox = { mode = \"full\", images = [\"/b\"] }\n"),
            "daemon.polling\ndaemon.sandbox.images\ndaemon.user\n");
  EXPECT_EQ(between("[daemon]\nreactors = 1\n", "[daemon]\nreactors = 2\n"), "daemon.reactors\n");
  EXPECT_EQ(between("[chardevs.c]\nbackend = \"null\"\n", "[chardevs.c]\nbackend = \"stdio\"\n"),
            "chardevs.c restart backend\n");
}

}  // namespace
}  // namespace blockexport::configuration
