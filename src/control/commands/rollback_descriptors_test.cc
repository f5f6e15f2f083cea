// Control commands while the process cannot open the first, the second, ... descriptor that they need: they fail, the
// state is as before, and they succeed when repeated. On the host's own files and sockets.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "aio/testing/backends.h"
#include "aio/testing/descriptor_limit.h"
#include "control/testing/bare_daemon.h"

namespace blockexport::control {
namespace {

// Above the number of descriptors of every command here.
constexpr rlim_t kDescriptorsMax = 64;

struct Case {
  const char* name;
  const char* command;
  std::string arguments;  // @ is replaced by the directory
  const char* undo;
  std::string undo_arguments;
  std::string made = {};  // name of a file that it makes in the directory
};

class FailingDescriptorTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    std::ofstream(directory_.path() + "/list") << R"({"rules": []})";
    std::ofstream(directory_.path() + "/secret") << "secret";
    std::ofstream(directory_.path() + "/log") << "before";
    std::filesystem::resize_file(directory_.path() + "/secret", 4096);
    // Opens the files that the process opens once and keeps.
    EXPECT_EQ(daemon_.run(step_), "");
    undo();
  }

  void undo() {
    EXPECT_EQ(daemon_.run({GetParam().undo, GetParam().undo_arguments}), "");
    std::error_code ignored;
    if (!GetParam().made.empty()) std::filesystem::remove(directory_.path() + "/" + GetParam().made, ignored);
  }

  aio::testing::TemporaryDirectory directory_;
  testing::BareDaemon daemon_{directory_.path()};
  const testing::Step step_{GetParam().command, GetParam().arguments};
};

TEST_P(FailingDescriptorTest, FailsWithoutAChange) {
  const std::string before = daemon_.state();
  rlim_t count = 0;
  for (bool succeeded = false; !succeeded && !HasFailure(); ++count) {
    ASSERT_LT(count, kDescriptorsMax);
    SCOPED_TRACE(::testing::Message() << count << " descriptors");
    std::string message;
    {
      aio::testing::DescriptorLimit limit(count);
      message = daemon_.run(step_);
    }
    succeeded = message.empty();
    if (!succeeded) {
      EXPECT_EQ(daemon_.state_that_becomes(before), before) << message;
      EXPECT_EQ(daemon_.run(step_), "");
    }
    undo();
    EXPECT_EQ(daemon_.state_that_becomes(before), before);
  }
  EXPECT_GT(count, 1u) << "the command opens no descriptor";
}

std::vector<Case> cases() {
  return {
      {"ServerOnAUnixSocket", "nbd-server-start", R"({"addr": {"type": "unix", "data": {"path": "@/socket"}}})",
       "nbd-server-stop", "{}"},
      {"ServerOnAPort", "nbd-server-start", R"({"addr": {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}})",
       "nbd-server-stop", "{}"},
      {"ChardevOnAUnixSocket", "chardev-add",
       R"({"id": "c", "backend": {"type": "socket", "data": {"server": true, "wait": false,
           "addr": {"type": "unix", "data": {"path": "@/socket"}}}}})",
       "chardev-remove", R"({"id": "c"})"},
      {"ChardevOfTwoFiles", "chardev-add",
       R"({"id": "c", "backend": {"type": "file", "data": {"out": "@/new", "in": "@/list"}}})", "chardev-remove",
       R"({"id": "c"})", "new"},
      {"Iothread", "object-add", R"({"qom-type": "iothread", "id": "o"})", "object-del", R"({"id": "o"})"},
      {"Secret", "object-add", R"({"qom-type": "secret", "id": "o", "file": "@/secret"})", "object-del",
       R"({"id": "o"})"},
      {"ListFile", "object-add", R"({"qom-type": "authz-list-file", "id": "o", "filename": "@/list"})", "object-del",
       R"({"id": "o"})"},
      {"NestedNodes", "blockdev-add",
       R"({"driver": "raw", "node-name": "r", "file": {"driver": "file", "node-name": "f", "filename": "@/secret"}})",
       "blockdev-del", R"({"node-name": "r"})"},
  };
}
INSTANTIATE_TEST_SUITE_P(Commands, FailingDescriptorTest, ::testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace blockexport::control
