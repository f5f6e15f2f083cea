// Startup: second pass over the command line: executes each option like the corresponding QMP command, from left to
// right; an object must exist before it is used. An option whose address or image is busy is retried for a moment: a
// process that was just killed may still hold it. QMP commands are not retried, since their senders can do that, and
// other commands would wait. Runs as a task of the control reactor.
#pragma once

#include <memory>
#include <vector>

#include "control/core/control.h"
#include "control/metrics/metrics_service.h"
#include "daemon/command_line.h"
#include "net/inherited_descriptors.h"

namespace blockexport::daemon {

// Time for which an option with a busy address or image is retried, and the pause between two attempts.
inline constexpr std::uint64_t kBusyStartMaxNs = 1'000'000'000;
inline constexpr std::uint64_t kBusyStartPauseNs = 20'000'000;

class Startup {
 public:
  // `trace`: configured by --trace; `inherited`: the descriptors that addresses may name. All references outlive it.
  Startup(control::Control& control, control::MetricsService& metrics, Trace& trace,
          net::InheritedDescriptors& inherited)
      : control_(control), metrics_(metrics), trace_(trace), inherited_(inherited) {}

  // The option requested help, which was printed: exit with this code.
  struct Exit {
    int code;
  };

  // Executes one option, or prints the help that it requests. An error does not name the option.
  aio::Task<Result<std::optional<Exit>>> run(StartOption option);

 private:
  using Outcome = Result<std::optional<Exit>>;
  // Runs the task of `begin`, which must have no effect when it fails; repeats it while its error is busy, up to
  // kBusyStartMaxNs.
  template <class Begin>
  aio::Task<Result<>> while_busy(Begin begin);
  aio::Task<Outcome> run_blockdev(std::string_view argument);
  aio::Task<Outcome> run_export(std::string_view argument);
  aio::Task<Outcome> run_nbd_server(std::string_view argument);
  aio::Task<Outcome> carry_out(const StartOption& option);
  aio::Task<Outcome> run_listen(std::string_view argument);
  aio::Task<Outcome> run_object(std::string_view argument);
  aio::Task<Outcome> run_chardev(const StartOption& option);
  aio::Task<Outcome> run_monitor(std::string_view argument);
  aio::Task<Outcome> run_metrics(std::string_view argument);
  Result<> take_inherited(net::SocketAddress& address);

  control::Control& control_;
  control::MetricsService& metrics_;
  Trace& trace_;
  net::InheritedDescriptors& inherited_;
  unsigned unnamed_monitors_ = 0;
};

}  // namespace blockexport::daemon
