// blockexportd: exports disk images as network block devices. See README.md.

#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "base/standard_descriptors.h"
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
  blockexport::open_standard_descriptors();
  outlive_io_signals();
  mallopt(M_MMAP_THRESHOLD, kMappedBytesMin);
  mallopt(M_TRIM_THRESHOLD, kFreeBytesKept);
  CommandLine command_line = parse_command_line(argc, argv);
  if (command_line.exit_code) return *command_line.exit_code;
  restrict_process(command_line);

  std::string_view path = argv[0];
  const std::string program(path.substr(path.rfind('/') + 1));
  const blockexport::Log console(program, STDERR_FILENO, blockexport::LogLevel::kInfo);
  blockexport::OwnedFd log_file;
  if (command_line.log_file) {
    auto opened = open_log_file(*command_line.log_file);
    if (!opened) {
      console.error(opened.error().message() + "\n" + opened.error().hint());
      return 1;
    }
    log_file = std::move(*opened);
  }
  blockexport::LogChannel channel(log_file ? log_file.get() : STDERR_FILENO, program + ": warning: ");
  blockexport::Trace trace(channel);
  blockexport::Log log(program, channel, blockexport::LogLevel::kInfo, trace);
  std::optional<Background> background;
  if (command_line.daemonize) {
    auto entered = Background::enter();
    if (!entered) {
      console.error(entered.error().message());
      return 1;
    }
    background.emplace(std::move(*entered));
  }
  if (auto started = channel.start(); !started) {
    log.warning(std::string("lines of the log may be dropped: ") + started.error().message());
  }
  return Daemon(std::move(command_line), log, trace, inherited, log_file.get()).run(std::move(background));
}
