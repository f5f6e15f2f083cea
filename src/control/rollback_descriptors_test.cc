// Commands for which the process may open no more descriptors after the first, the second, ... that they need: they
// fail, everything is as it was before, and they succeed when they are given again. On the host's own files and
// sockets.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string>

#include "aio/testing/backends.h"
#include "base/owned_fd.h"
#include "control/control.h"
#include "control/runner.h"
#include "drivers/driver_table.h"
#include "json/parser.h"
#include "json/writer.h"

namespace blockexport::control {
namespace {

using aio::Task;

// More descriptors than any command here opens.
constexpr rlim_t kDescriptorsMax = 64;

// While it lives the process may open `count` descriptors more.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t count) {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit less = before_;
    less.rlim_cur = lowest_after(count);
    setrlimit(RLIMIT_NOFILE, &less);
  }
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  // Below this number `count` are free.
  static rlim_t lowest_after(rlim_t count) {
    rlim_t number = 0;
    for (;; ++number) {
      const bool is_free = fcntl(static_cast<int>(number), F_GETFD) < 0;
      if (is_free && count-- == 0) return number;
    }
  }
  rlimit before_ = {};
};

std::multiset<std::string> open_files() {
  std::multiset<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    std::string name = std::filesystem::read_symlink(entry.path(), gone).string();
    // Not that of this loop; sockets and pipes without the number that each has.
    if (!gone && !name.starts_with("/proc/")) names.insert(name.substr(0, name.find(":[")));
  }
  return names;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Case {
  const char* name;
  const char* command;
  std::string arguments;  // @ stands for the directory
  const char* undo;
  std::string undo_arguments;
  std::string made = {};  // a file in the directory that it makes
};

class FailingDescriptorTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    auto reactor = aio::Reactor::create({.backend = aio::BackendKind::kEpoll}, log_);
    ASSERT_TRUE(reactor);
    reactor_ = std::move(*reactor);
    std::ofstream(directory_.path() + "/list") << R"({"rules": []})";
    std::ofstream(directory_.path() + "/secret") << "secret";
    std::ofstream(directory_.path() + "/log") << "before";
    std::filesystem::resize_file(directory_.path() + "/secret", 4096);
    control_ = std::make_unique<Control>(*reactor_, DataReactorOptions{}, log_, drivers_, [] {});
    // What the process opens once and keeps.
    EXPECT_EQ(run(GetParam().command, GetParam().arguments), "");
    undo();
  }
  void TearDown() override {
    if (!control_) return;
    aio::testing::run(*reactor_, control_->shut_down());
    aio::testing::run(*reactor_, control_->close_monitors());
  }

  std::string run(const char* command, const std::string& arguments) {
    Result<json::Value> result = json::Value();
    aio::testing::run(*reactor_, run_into(command, in_directory(arguments), result));
    return result ? "" : result.error().message();
  }
  void undo() {
    EXPECT_EQ(run(GetParam().undo, GetParam().undo_arguments), "");
    std::error_code ignored;
    if (!GetParam().made.empty()) std::filesystem::remove(directory_.path() + "/" + GetParam().made, ignored);
  }

  // What can be asked for, what is open, and what stands in the directory.
  std::string state() {
    std::string text;
    for (const char* query : {"query-named-block-nodes", "query-chardev", "query-iothreads", "qom-list"}) {
      Result<json::Value> result = json::Value();
      const bool lists = std::string_view(query) == "qom-list";
      aio::testing::run(*reactor_, run_into(query, lists ? R"({"path": "/objects"})" : "{}", result));
      if (result) json::write(*result, text);
      text += "\n";
    }
    for (const std::string& name : open_files()) text += "open " + name + "\n";
    std::set<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path()))
      files.insert(entry.path().string());
    for (const std::string& file : files) text += "file " + file + ": " + text_of(file) + "\n";
    return text + (control_->has_nbd_server() ? "server\n" : "no server\n");
  }

  std::string in_directory(std::string text) const {
    for (std::size_t at = text.find('@'); at != std::string::npos; at = text.find('@')) {
      text.replace(at, 1, directory_.path());
    }
    return text;
  }
  Task<void> run_into(std::string command, std::string arguments, Result<json::Value>& result) {
    const json::Value parsed = *json::parse(arguments);
    result = co_await Runner(*control_).run({.name = std::move(command), .arguments = &parsed});
  }

  aio::testing::TemporaryDirectory directory_;
  Log log_{"control_test", 2, LogLevel::kError};
  std::unique_ptr<aio::Reactor> reactor_;
  drivers::BuiltInDrivers drivers_;
  std::unique_ptr<Control> control_;
};

TEST_P(FailingDescriptorTest, LeavesEverythingAsItWas) {
  const std::string before = state();
  rlim_t count = 0;
  for (bool succeeded = false; !succeeded && !HasFailure(); ++count) {
    ASSERT_LT(count, kDescriptorsMax);
    SCOPED_TRACE(testing::Message() << count << " descriptors");
    std::string message;
    {
      DescriptorLimit limit(count);
      message = run(GetParam().command, GetParam().arguments);
    }
    succeeded = message.empty();
    if (!succeeded) {
      EXPECT_EQ(state(), before) << message;
      EXPECT_EQ(run(GetParam().command, GetParam().arguments), "");
    }
    undo();
    EXPECT_EQ(state(), before);
  }
  EXPECT_GT(count, 1u) << "it opens something";
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
INSTANTIATE_TEST_SUITE_P(Commands, FailingDescriptorTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace blockexport::control
