#include "aio/testing/backends.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "aio/sync/scope.h"

namespace blockexport::aio::testing {
namespace {

// After this much real time a test counts as hung. Under a sanitizer on a busy machine some tests need a minute.
constexpr std::uint64_t kDeadlineNs = 100'000'000'000;
constexpr std::uint64_t kTurnNs = 1'000'000'000;

[[noreturn]] void die_of_waiting(Reactor& reactor) {
  std::string text = "the test did not end in time; its tasks:\n";
  for (const TaskRoot& task : reactor.tasks()) {
    text += fmt::format("  {} at {}:{}\n", task.name, task.where.file_name(), task.where.line());
  }
  std::fputs(text.c_str(), stderr);
  std::abort();
}

}  // namespace

void run(Reactor& reactor, Task<void> task) {
  SystemClock real;
  std::uint64_t deadline_ns = real.now_ns() + kDeadlineNs;
  Scope scope(reactor);
  scope.spawn("test", std::move(task));
  // Only a simulation can run without a time limit: it detects a deadlock.
  std::uint64_t turn_ns = reactor.backend_name() == "simulation" ? UINT64_MAX : kTurnNs;
  while (scope.size() > 0) {
    if (real.now_ns() > deadline_ns) die_of_waiting(reactor);
    reactor.run_once(turn_ns);
  }
}

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "blockexport-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void ForEachBackend::SetUp() {
  // As in the daemon: sendfile(2) has no MSG_NOSIGNAL.
  std::signal(SIGPIPE, SIG_IGN);
  if (backend() == "simulation") {
    simulation_ =
        std::make_unique<Simulation>(static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed()));
    reactor_ = simulation_->make_reactor();
    return;
  }
  ReactorOptions options;
  Result<std::unique_ptr<Backend>> made = kernel_.make_backend(backend(), options.worker_threads_max);
  if (!made) GTEST_SKIP() << made.error().message();
  reactor_ = Reactor::create(std::move(*made), options, &log_);
  directory_ = std::make_unique<TemporaryDirectory>();
}

void ForEachBackend::inject(Fault fault) {
  simulated() ? simulation_->inject(std::move(fault)) : kernel_.inject(std::move(fault));
}

void ForEachBackend::clear_faults() {
  simulated() ? simulation_->clear_faults() : kernel_.clear_faults();
}

std::string ForEachBackend::make_file(std::string_view content) {
  std::string name = fmt::format("file{}", ++files_);
  if (simulated()) {
    // Absolute, as on the real backends.
    std::string path = "/" + name;
    simulation_->write_file(path, std::as_bytes(std::span(content)));
    return path;
  }
  std::string path = directory_->path() + "/" + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::pair<int, int> ForEachBackend::make_socket_pair() {
  if (simulated()) return simulation_->socket_pair();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  for (int end : ends) reactor_->keep_watch(end);
  return {ends[0], ends[1]};
}

std::string ForEachBackend::content_of(const std::string& path) {
  if (simulated()) {
    std::vector<std::byte> content = simulation_->read_file(path).value_or(std::vector<std::byte>());
    return {reinterpret_cast<const char*>(content.data()), content.size()};
  }
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace blockexport::aio::testing
