#include "configuration/reading.h"

#include <gtest/gtest.h>

#include "configuration/files.h"
#include "configuration/test_files.h"

namespace blockexport::configuration {
namespace {

class ReadingTest : public ::testing::Test {
 protected:
  testing::ConfigurationFolder folder_;
};

TEST_F(ReadingTest, JoinsAllFiles) {
  folder_.write("main.toml", "[daemon]\nreactors = 2\n[objects.io0]\nqom-type = \"iothread\"\n");
  folder_.write("conf.d/10-nodes.toml", "[nodes.shared]\ndriver = \"null-co\"\n[daemon]\npidfile = \"/run/x.pid\"\n");
  folder_.write("conf.d/20-more.json", R"({"exports": {"one": {"node-name": "shared"}}})");
  folder_.write("exports.d/two.toml", "writable = true\n[node]\ndriver = \"null-co\"\nsize = 4096\n");
  folder_.write("exports.d/.hidden.toml", "nonsense");
  folder_.write("exports.d/readme.txt", "nonsense");
  const ReadConfiguration read = folder_.read();
  EXPECT_EQ(read.findings.text(), "");
  EXPECT_EQ(read.files.size(), 4U);
  EXPECT_EQ(read.content.daemon.reactors, 2U);
  EXPECT_EQ(read.content.daemon.pidfile, "/run/x.pid");
  ASSERT_EQ(read.content.objects.size(), 1U);
  EXPECT_EQ(read.content.objects[0].id, "io0");
  ASSERT_EQ(read.content.nodes.size(), 1U);
  EXPECT_EQ(read.content.nodes[0].node_name, "shared");
  ASSERT_EQ(read.content.exports.size(), 2U);
  EXPECT_EQ(read.content.exports[0].id, "one");
  EXPECT_EQ(read.content.exports[1].id, "two");
  EXPECT_EQ(read.content.exports[1].writable, true);
  EXPECT_EQ(read.places.of(Section::kExports, "two", "writable").line, 1U);
}

TEST_F(ReadingTest, WorksWithoutFoldersBesideTheFile) {
  folder_.remove("conf.d");
  folder_.remove("exports.d");
  folder_.write("main.toml", "");
  EXPECT_EQ(folder_.errors(), "");
}

TEST_F(ReadingTest, ReportsAllErrorsWithTheirPlaces) {
  folder_.write("main.toml",
                "[deamon]\nreactors = 2\n"
                "[objects.io0]\nqom-type = \"iothred\"\npoll-max-ns = 1\n"
                "[nodes.disk]\ndriver = \"file\"\nfilenam = \"/x\"\nread-only = \"yes\"\n");
  folder_.write("exports.d/vda.toml", "writeable = true\nnode-name = \"disk\"\n");
  folder_.write("exports.d/vdb.toml", "node-name = 7\n\n[node\n");
  EXPECT_EQ(
      folder_.errors(),
      "@/main.toml:1:2: Parameter 'deamon' is unexpected. Did you mean 'daemon' instead of 'deamon'?\n"
      "@/main.toml:4:1: Parameter 'qom-type' does not accept value 'iothred'. "
      "Did you mean 'iothread' instead of 'iothred'? 'objects.io0.qom-type' accepts: authz-list, authz-list-file, "
      "authz-listfile, authz-pam, authz-simple, iothread, monitor-qmp, secret, throttle-group, tls-creds-anon, "
      "tls-creds-psk, tls-creds-x509.\n"
      "@/main.toml:8:1: Parameter 'nodes.disk.filenam' is unexpected. "
      "Did you mean 'nodes.disk.filename' instead of 'nodes.disk.filenam'?\n"
      "@/main.toml:9:1: Invalid parameter type for 'nodes.disk.read-only', expected: boolean\n"
      "@/exports.d/vda.toml:1:1: Parameter 'writeable' is unexpected. "
      "Did you mean 'writable' instead of 'writeable'?\n"
      "@/exports.d/vdb.toml:3:6: Error while parsing table header: expected ']', saw '\\n'");
}

TEST_F(ReadingTest, NamesBothPlacesOfWhatIsSetTwice) {
  folder_.write("main.toml", "[daemon]\nreactors = 2\n[nodes.disk]\ndriver = \"null-co\"\n");
  folder_.write("conf.d/a.toml", "[daemon]\nreactors = 3\n[nodes.disk]\ndriver = \"null-co\"\n");
  folder_.write("exports.d/x.toml", "node-name = \"disk\"\n");
  folder_.write("exports.d/y.toml", "id = \"x\"\nnode-name = \"disk\"\n");
  const std::string errors = folder_.errors();
  EXPECT_NE(errors.find("@/conf.d/a.toml:2:1: 'daemon.reactors' is set twice (first at"), std::string::npos) << errors;
  EXPECT_NE(errors.find("@/main.toml:2:1)"), std::string::npos) << errors;
  EXPECT_NE(errors.find("@/conf.d/a.toml:3:8: 'nodes.disk' is set twice (first at @/main.toml:3:8)"), std::string::npos)
      << errors;
  EXPECT_NE(errors.find("@/exports.d/y.toml:1:1: 'exports.x' is set twice (first at @/exports.d/x.toml:1:1)"),
            std::string::npos)
      << errors;
}

TEST_F(ReadingTest, RefusesFilesThatOthersCanChange) {
  folder_.write("main.toml", "", 0620);
  EXPECT_NE(folder_.errors().find("lets other users change it; fix it with: chmod go-w "), std::string::npos);
  folder_.write("main.toml", "", 0602);
  EXPECT_NE(folder_.errors().find("lets other users change it"), std::string::npos);
  folder_.write("main.toml", "", 0644);
  EXPECT_EQ(folder_.errors(), "");
  chmod(folder_.path("exports.d").c_str(), 0777);
  EXPECT_NE(folder_.errors().find("exports.d: The file cannot be used: Its mode 0777"), std::string::npos);
}

TEST_F(ReadingTest, RefusesSecretsInFilesThatOthersCanRead) {
  const std::string secret = "[objects.s]\nqom-type = \"secret\"\ndata = \"x\"\n";
  folder_.write("main.toml", secret, 0640);
  EXPECT_NE(
      folder_.errors().find("@/main.toml:3:1: The file contains a secret, and its mode 0640 lets other users read "
                            "it; fix it with: chmod 600 "),
      std::string::npos)
      << folder_.errors();
  folder_.write("main.toml", secret, 0600);
  EXPECT_EQ(folder_.errors(), "");
}

TEST_F(ReadingTest, RefusesWhatIsNoFile) {
  EXPECT_EQ(folder_.errors("absent.toml"), "@/absent.toml: The file cannot be used: No such file or directory");
  EXPECT_EQ(folder_.errors("conf.d"), "@/conf.d: The file cannot be used: It is not a regular file");
}

TEST_F(ReadingTest, LimitsTheSizeOfAFile) {
  folder_.write("main.toml", std::string(kConfigurationFileBytesMax + 1, '\n'));
  EXPECT_NE(folder_.errors().find("It has more than 4194304 bytes"), std::string::npos);
}

TEST_F(ReadingTest, LimitsTheNumberOfErrors) {
  std::string text;
  for (int i = 0; i < 150; ++i) text += "x" + std::to_string(i) + " = 1\n";
  folder_.write("main.toml", text);
  EXPECT_NE(folder_.errors().find("\n50 more errors"), std::string::npos);
}

}  // namespace
}  // namespace blockexport::configuration
