// blockexportd: exports disk images as network block devices. See README.md.

#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "daemon/daemon.h"

int main(int argc, char** argv) {
  using namespace blockexport::daemon;
  CommandLine command_line = parse_command_line(argc, argv);
  if (command_line.exit_code) return *command_line.exit_code;

  std::string_view path = argv[0];
  blockexport::Trace trace;
  blockexport::Log log(std::string(path.substr(path.rfind('/') + 1)), STDERR_FILENO, blockexport::LogLevel::kInfo,
                       trace);
  std::optional<Background> background;
  if (command_line.daemonize) {
    auto entered = Background::enter();
    if (!entered) {
      log.error(entered.error().message());
      return 1;
    }
    background.emplace(std::move(*entered));
  }
  return Daemon(std::move(command_line), log, trace).run(std::move(background));
}
