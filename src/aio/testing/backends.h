// ForEachBackend: a GoogleTest fixture that runs each test on every backend: io_uring, epoll and the simulation.
//
//   class MyTest : public aio::testing::ForEachBackend {};
//   BLOCKEXPORT_FOR_EACH_BACKEND(MyTest);
//   TEST_P(MyTest, DoesThis) { run(task(reactor())); }
//
// Files, sockets and faults come from the fixture, so that they fit the backend. A backend that the system refuses is
// skipped. Thread: the test's.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/sim/simulation.h"
#include "aio/task/task.h"
#include "aio/testing/odd_kernel.h"
#include "base/log.h"

namespace blockexport::aio::testing {

// Runs `task` to its end on `reactor`. Aborts with a list of tasks when that takes more than 100 seconds of real time,
// or when a simulation is in a deadlock.
void run(Reactor& reactor, Task<void> task);

// A private directory under the system's directory for temporary files; the destructor removes it with its content.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class ForEachBackend : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override;

  // "io_uring", "epoll" or "simulation".
  std::string_view backend() const { return GetParam(); }
  bool simulated() const { return simulation_ != nullptr; }
  Reactor& reactor() { return *reactor_; }
  // Valid only when simulated().
  Simulation& simulation() { return *simulation_; }
  // Valid only when not simulated().
  OddKernel& kernel() { return kernel_; }

  // A fault of the simulation, or of the kernel under a real backend.
  void inject(Fault fault);
  void clear_faults();

  void run(Task<void> task) { testing::run(*reactor_, std::move(task)); }

  // The path of a new file with this content, to be opened with reactor().open().
  std::string make_file(std::string_view content = {});
  // A connected, non-blocking pair of stream sockets, registered with keep_watch(). Close them with
  // reactor().close_now().
  std::pair<int, int> make_socket_pair();
  // The content of the file `path`.
  std::string content_of(const std::string& path);

 private:
  Log log_{"aio_test", 2, LogLevel::kError};
  std::unique_ptr<TemporaryDirectory> directory_;
  std::unique_ptr<Simulation> simulation_;
  OddKernel kernel_;
  std::unique_ptr<Reactor> reactor_;
  int files_ = 0;
};

}  // namespace blockexport::aio::testing

#define BLOCKEXPORT_FOR_EACH_BACKEND(suite)                                                       \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::Values("io_uring", "epoll", "simulation"), \
                           [](const auto& info) { return std::string(info.param); })
