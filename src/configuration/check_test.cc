#include "configuration/check.h"

#include <gtest/gtest.h>

#include "configuration/test_files.h"

namespace blockexport::configuration {
namespace {

class CheckTest : public ::testing::Test {
 protected:
  std::string errors_of(const std::string& text) {
    folder_.write("main.toml", text);
    return folder_.errors();
  }

  testing::ConfigurationFolder folder_;
};

constexpr const char* kNull = "driver = \"null-co\"\n";

TEST_F(CheckTest, AcceptsWhatFitsTogether) {
  EXPECT_EQ(errors_of("[objects.s]\nqom-type = \"secret\"\nfile = \"/x\"\n"
                      "[objects.creds]\nqom-type = \"tls-creds-x509\"\ndir = \"/x\"\npasswordid = \"s\"\n"
                      "[objects.io]\nqom-type = \"iothread\"\n"
                      "[chardevs.c]\nbackend = \"socket\"\naddr = { type = \"unix\", path = \"/x\" }\n"
                      "[monitors.m]\nchardev = \"c\"\n"
                      "[nodes.top]\ndriver = \"raw\"\nfile = \"disk\"\n"
                      "[nodes.disk]\ndriver = \"null-co\"\n"
                      "[servers.default]\nlisten = [\"unix:/x\"]\ntls = { creds = \"creds\" }\n"
                      "[exports.a]\nnode-name = \"top\"\niothread = [\"io\"]\n"
                      "[exports.b]\nwritable = true\n[exports.b.node]\ndriver = \"null-co\"\n"),
            "");
}

TEST_F(CheckTest, NamesWhatAReferenceMeant) {
  EXPECT_EQ(errors_of("[nodes.disk]\ndriver = \"null-co\"\n[exports.a]\nnode-name = \"dsik\"\n"),
            "@/main.toml:4:1: There is no node 'dsik'. Did you mean 'disk' instead of 'dsik'?");
  EXPECT_EQ(errors_of("[objects.io0]\nqom-type = \"iothread\"\n[exports.a]\niothread = \"io1\"\n"
                      "node = { driver = \"null-co\" }\n"),
            "@/main.toml:4:1: There is no object 'io1'. Did you mean 'io0' instead of 'io1'?");
  EXPECT_EQ(errors_of("[nodes.a]\ndriver = \"throttle\"\nthrottle-group = \"g\"\nfile = { driver = \"null-co\" }\n"),
            "@/main.toml:3:1: There is no throttle-group 'g'");
}

TEST_F(CheckTest, NamesTheServersOfAnExport) {
  const std::string server = "[servers.back]\nlisten = [\"unix:/s\"]\n";
  EXPECT_EQ(errors_of(server + "[exports.a]\nservers = [\"back\"]\nnode = { driver = \"null-co\" }\n"), "");
  EXPECT_EQ(
      errors_of(server + "[exports.a]\nservers = [\"back\", \"bakc\", \"back\"]\nnode = { driver = \"null-co\" }\n"),
      "@/main.toml:4:20: There is no server 'bakc'. Did you mean 'back' instead of 'bakc'?\n"
      "@/main.toml:4:28: Server 'back' is named twice");
}

TEST_F(CheckTest, FindsCircles) {
  EXPECT_EQ(errors_of("[nodes.a]\ndriver = \"raw\"\nfile = \"b\"\n[nodes.b]\ndriver = \"raw\"\nfile = \"a\"\n"
                      "[nodes.c]\ndriver = \"raw\"\nfile = \"a\"\n"),
            "@/main.toml:1:8: Node 'a' refers to itself through other nodes\n"
            "@/main.toml:4:8: Node 'b' refers to itself through other nodes");
}

TEST_F(CheckTest, FindsNamesThatAreUsedTwice) {
  EXPECT_EQ(errors_of(std::string("[nodes.a]\n") + kNull + "[exports.a.node]\n" + kNull),
            "@/main.toml:3:12: The node-name 'a' is used twice (first at @/main.toml:1:8). The node of an export has "
            "the name of the export, unless its options give a node-name.");
  EXPECT_EQ(errors_of(std::string("[nodes.n]\n") + kNull +
                      "[exports.a]\nnode-name = \"n\"\nname = \"x\"\n[exports.b]\nnode-name = \"n\"\nname = \"x\"\n"),
            "@/main.toml:8:1: Export 'a' has the name 'x' already (at @/main.toml:5:1)");
}

TEST_F(CheckTest, FindsContradictions) {
  EXPECT_EQ(errors_of("[exports.a]\nwritable = true\n[exports.a.node]\ndriver = \"null-co\"\nread-only = true\n"),
            "@/main.toml:2:1: Cannot export read-only node as writable");
  EXPECT_EQ(errors_of("[nodes.a]\ndriver = \"null-co\"\nforce-share = true\n"),
            "@/main.toml:1:8: force-share=on can only be used with read-only images");
  EXPECT_EQ(errors_of("[exports.a]\nwritable = true\n"), "@/main.toml:1:10: Either 'node' or 'node-name' is needed");
  EXPECT_EQ(errors_of("[daemon]\nreactors = 0\nshutdown-grace-seconds = 3601\nimage-references = []\n"),
            "@/main.toml:2:1: Parameter 'daemon.reactors' expects a number from 1 to 64\n"
            "@/main.toml:3:1: Parameter 'daemon.shutdown-grace-seconds' expects a number from 0 to 3600\n"
            "@/main.toml:4:1: Parameter 'daemon.image-references' expects \"allow\", \"deny\", or one or more "
            "directories");
}

TEST_F(CheckTest, LeavesNodesOfExportsToTheirExports) {
  EXPECT_EQ(errors_of("[exports.a]\nnode-name = \"b\"\n[exports.b.node]\ndriver = \"null-co\"\n"),
            "@/main.toml:2:1: Node 'b' belongs to another object. Only nodes of the section 'nodes' can be shared.");
}

TEST_F(CheckTest, KnowsObjectsOfTheSurroundings) {
  folder_.write("main.toml", "[exports.a]\nnode-name = \"outer\"\n");
  EXPECT_FALSE(folder_.read().findings.empty());
  EXPECT_EQ(folder_.read("main.toml", {.nodes = {"outer"}}).findings.text(), "");
}

}  // namespace
}  // namespace blockexport::configuration
