// blockexportd: exports disk images as network block devices. See README.md.

#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "base/standard_descriptors.h"
#include "daemon/configuration_option.h"
#include "daemon/daemon.h"
#include "daemon/process_state.h"

namespace {

// By default the allocator raises its thresholds with each large block that is freed, and would keep twice the memory
// of a message of megabytes for good. Requests have a buffer pool of their own (aio/memory/buffer_pool.h).
constexpr int kMappedBytesMin = 2 << 20;
constexpr int kFreeBytesKept = 4 << 20;

}  // namespace

int main(int argc, char** argv) {
  using namespace blockexport::daemon;
  auto inherited = blockexport::net::InheritedDescriptors::record();
  const ServiceNotifier notifier = ServiceNotifier::from_environment();
  blockexport::open_standard_descriptors();
  outlive_io_signals();
  mallopt(M_MMAP_THRESHOLD, kMappedBytesMin);
  mallopt(M_TRIM_THRESHOLD, kFreeBytesKept);
  CommandLine command_line = parse_command_line(argc, argv);
  if (command_line.exit_code) return *command_line.exit_code;
  auto configuration = read_configuration_of(command_line);
  if (configuration && (command_line.check_config || !configuration->findings.empty())) {
    const int code = report_check(*configuration, command_line);
    if (code != 0) return code;
  }
  restrict_process(command_line);

  std::string_view path = argv[0];
  const std::string program(path.substr(path.rfind('/') + 1));
  const blockexport::Log console(program, STDERR_FILENO, blockexport::LogLevel::kInfo);
  blockexport::OwnedFd log_file;
  if (command_line.log.file) {
    auto opened = open_log_file(*command_line.log.file);
    if (!opened) {
      console.error(opened.error().message() + "\n" + opened.error().hint());
      return 1;
    }
    log_file = std::move(*opened);
  }
  auto destination = choose_log_destination(command_line.log, log_file.get());
  if (!destination) {
    console.error(destination.error().message());
    return 1;
  }
  blockexport::LogChannel channel(std::move(*destination), program);
  blockexport::Trace trace(channel, program);
  blockexport::Log log(program, channel, blockexport::LogLevel::kInfo, trace);
  if (command_line.log.level) log.selection().choose(*command_line.log.level);
  std::optional<Background> background;
  if (command_line.daemonize) {
    auto entered = Background::enter();
    if (!entered) {
      console.error(entered.error().message());
      return 1;
    }
    background.emplace(std::move(*entered));
  }
  if (auto given_up = give_up_rights(command_line); !given_up) {
    const std::string& message = given_up.error().message();
    const std::string& hint = given_up.error().hint();
    const std::string place = configuration ? place_of_rights(*configuration, command_line, message) : "";
    log.error(place + message + (hint.empty() ? "" : "\n" + hint));
    return command_line.check_config ? kConfigurationErrorExit : 1;
  }
  if (auto started = channel.start(); !started) {
    log.warning(std::string("lines of the log may be dropped: ") + started.error().message());
  }
  Daemon daemon(std::move(command_line), log, trace, inherited, notifier, log_file.get());
  if (configuration) daemon.configure(std::move(*configuration));
  return daemon.run(std::move(background));
}
