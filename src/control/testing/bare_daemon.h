// BareDaemon: for tests: a daemon's control plane over the host's own files and sockets, without a process of its own,
// and its visible state as one text.
//
// Commands and expected texts name files of a private directory as "@/name". Not part of the daemon. Thread: the
// test's.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "aio/reactor/reactor.h"
#include "base/log.h"
#include "control/core/control.h"
#include "drivers/driver_table.h"

namespace blockexport::control::testing {

struct Step {
  std::string command;
  std::string arguments = "{}";
};

class BareDaemon {
 public:
  // `directory` replaces "@"; `drivers` opens block drivers.
  explicit BareDaemon(std::string directory,
                      std::unique_ptr<block::DriverTable> drivers = std::make_unique<drivers::BuiltInDrivers>());
  // Ends it as the process would.
  ~BareDaemon();
  BareDaemon(const BareDaemon&) = delete;
  BareDaemon& operator=(const BareDaemon&) = delete;

  Control& control() { return *control_; }
  aio::Reactor& reactor() { return *reactor_; }
  // Runs a command as a monitor would; returns the error's message, or "".
  std::string run(const Step& step);
  // Runs the task to its end; returns the error's message, or "".
  std::string run(aio::Task<Result<>> task);

  // The queries' replies about nodes, exports, chardevs and objects with their properties, and whether there is an NBD
  // server. Ports that the kernel chose are all shown as the same number.
  std::string visible_state();
  // The same, with the process's open files and threads, and the entries of the directory with their content. Excludes
  // worker threads, which stay once they were needed.
  std::string state();
  // Runs for a while until state() equals `expected`, because threads and tasks may be about to end; returns the last
  // state().
  std::string state_that_becomes(std::string_view expected);

 private:
  std::string answer(const Step& step);
  std::string in_directory(std::string text) const;

  std::string directory_;
  Log log_{"control_test", 2, LogLevel::kError};
  std::unique_ptr<block::DriverTable> drivers_;
  std::unique_ptr<aio::Reactor> reactor_;
  std::unique_ptr<Control> control_;
};

}  // namespace blockexport::control::testing
