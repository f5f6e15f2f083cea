#include "control/testing/bare_daemon.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "aio/testing/backends.h"
#include "control/core/runner.h"
#include "json/parser.h"
#include "json/writer.h"

namespace blockexport::control::testing {
namespace {

using Names = std::multiset<std::string>;

constexpr std::uint64_t kStateWaitNs = 10'000'000'000;
constexpr std::uint64_t kStatePauseNs = 2'000'000;
constexpr const char* kQueries[] = {"query-named-block-nodes", "query-block-exports", "query-chardev",
                                    "query-nbd-servers"};

Names open_files() {
  Names names;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    std::string name = std::filesystem::read_symlink(entry.path(), gone).string();
    // Leaves out the descriptor of this loop, and the individual numbers of sockets and pipes.
    if (!gone && !name.starts_with("/proc/")) names.insert(name.substr(0, name.find(":[")));
  }
  return names;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// A joined thread is listed until the kernel has taken it apart, and has this flag by then; proc_pid_stat(5), "flags".
bool is_exiting(const std::string& stat) {
  constexpr unsigned kExiting = 0x4;
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return true;  // The thread is gone.
  std::istringstream fields(stat.substr(name_end + 1));
  std::string skipped;
  unsigned flags = 0;
  for (int field = 0; field < 6; ++field) fields >> skipped;
  fields >> flags;
  return (flags & kExiting) != 0;
}

Names threads() {
  Names names;
  const std::string own_name = text_of("/proc/self/comm");
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name = text_of(entry.path().string() + "/comm");
    if (name.empty() || name == "file-worker" || is_exiting(text_of(entry.path().string() + "/stat"))) continue;
    // A thread has the name of the process until it has given itself its own, and then it may be a worker.
    if (name == own_name && entry.path().filename() != std::to_string(getpid())) continue;
    names.insert(std::move(name));
  }
  return names;
}

// For entries other than regular files, the inode number stands for the content.
Names files_in(const std::string& directory) {
  Names files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat status{};
    if (lstat(entry.path().c_str(), &status) != 0) continue;
    const bool is_file = S_ISREG(status.st_mode);
    const std::string content = is_file ? text_of(entry.path().string()) : std::to_string(status.st_ino);
    files.insert(entry.path().string() + ": " + content);
  }
  return files;
}

aio::Task<void> keep(aio::Task<Result<>> task, Result<>& result) {
  result = co_await std::move(task);
}

aio::Task<void> run_into(Control& control, std::string command, std::string arguments, Result<json::Value>& result) {
  const json::Value parsed = *json::parse(arguments);
  result = co_await Runner(control).run({.name = std::move(command), .arguments = &parsed});
}

aio::Task<void> pause(aio::Reactor& reactor) {
  (void)co_await reactor.sleep_until(reactor.now_ns() + kStatePauseNs);
}

}  // namespace

BareDaemon::BareDaemon(std::string directory, std::unique_ptr<block::DriverTable> drivers)
    : directory_(std::move(directory)), drivers_(std::move(drivers)) {
  // ThreadSanitizer starts a thread of its own beside the first thread that a program makes: state() counts both.
  std::thread([] {}).join();
  // Its calls go through the C library, where FailingCalls can intercept them.
  auto reactor = aio::Reactor::create({.backend = aio::BackendKind::kEpoll}, log_);
  if (!reactor) std::abort();
  reactor_ = std::move(*reactor);
  DataReactorOptions data{.each = {.backend = aio::BackendKind::kEpoll}};
  control_ = std::make_unique<Control>(*reactor_, data, log_, *drivers_, [] {});
  control_->serve();
}

BareDaemon::~BareDaemon() {
  aio::testing::run(*reactor_, control_->shut_down());
  aio::testing::run(*reactor_, control_->close_monitors());
}

std::string BareDaemon::run(const Step& step) {
  Result<json::Value> result = json::Value();
  aio::testing::run(*reactor_, run_into(*control_, step.command, in_directory(step.arguments), result));
  return result ? "" : result.error().message();
}

std::string BareDaemon::run(aio::Task<Result<>> task) {
  Result<> result;
  aio::testing::run(*reactor_, keep(std::move(task), result));
  return result ? "" : result.error().message();
}

std::string BareDaemon::answer(const Step& step) {
  Result<json::Value> result = json::Value();
  aio::testing::run(*reactor_, run_into(*control_, step.command, step.arguments, result));
  EXPECT_TRUE(result) << step.command;
  std::string text;
  if (result) json::write(*result, text);
  return text + "\n";
}

std::string BareDaemon::visible_state() {
  std::string text;
  for (const char* query : kQueries) text += answer({query});
  for (const auto& object : control_->objects().all()) {
    const std::string path = "\"/objects/" + object->id() + "\"";
    text += path + ": " + answer({"qom-list-get", "{\"paths\": [" + path + "]}"});
  }
  text += control_->servers().contains(kDefaultServerId) ? "server\n" : "no server\n";
  static const std::regex port("127\\.0\\.0\\.1:[0-9]+");
  return std::regex_replace(text, port, "127.0.0.1:0");
}

std::string BareDaemon::state() {
  std::string text = visible_state();
  for (const std::string& name : open_files()) text += "open " + name + "\n";
  for (const std::string& name : threads()) text += "thread " + name + "\n";
  for (const std::string& file : files_in(directory_)) text += "file " + file + "\n";
  return text;
}

std::string BareDaemon::state_that_becomes(std::string_view expected) {
  const std::uint64_t end_ns = reactor_->now_ns() + kStateWaitNs;
  for (;;) {
    std::string found = state();
    if (found == expected || reactor_->now_ns() > end_ns) return found;
    aio::testing::run(*reactor_, pause(*reactor_));
  }
}

std::string BareDaemon::in_directory(std::string text) const {
  for (std::size_t at = text.find('@'); at != std::string::npos; at = text.find('@')) text.replace(at, 1, directory_);
  return text;
}

}  // namespace blockexport::control::testing
