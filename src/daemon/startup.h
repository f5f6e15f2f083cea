// Startup: the second pass over the command line. Each option is carried out like the QMP command it stands for, left
// to right; a name must exist before it is used. What is busy, an address or an image, is tried again for a moment: the
// process that had it may have been killed just now, and the kernel still be at work. QMP commands are not: whoever
// sends them can ask again, and others wait meanwhile. Runs as a task of the control reactor.
#pragma once

#include <memory>
#include <vector>

#include "control/control.h"
#include "daemon/command_line.h"
#include "net/inherited_descriptors.h"

namespace blockexport::daemon {

// How long an option of the command line waits for what is busy, and the pause between two tries.
inline constexpr std::uint64_t kBusyStartMaxNs = 1'000'000'000;
inline constexpr std::uint64_t kBusyStartPauseNs = 20'000'000;

class Startup {
 public:
  // `trace` is what --trace switches; `inherited` is what numbers of descriptors are looked up in. Both outlive it.
  Startup(control::Control& control, Trace& trace, net::InheritedDescriptors& inherited)
      : control_(control), trace_(trace), inherited_(inherited) {}

  // Help was asked for and printed: exit with this code.
  struct Exit {
    int code;
  };

  // Carries out one option, or prints the help that it asks for. An error is a message without the option that it
  // belongs to.
  aio::Task<Result<std::optional<Exit>>> run(StartOption option);

 private:
  using Outcome = Result<std::optional<Exit>>;
  // `begin`, which makes a task that leaves nothing behind when it fails, as often as it takes.
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
  Result<> take_inherited(net::SocketAddress& address);

  control::Control& control_;
  Trace& trace_;
  net::InheritedDescriptors& inherited_;
  unsigned unnamed_monitors_ = 0;
};

}  // namespace blockexport::daemon
