#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "common/fatal.h"
#include "common/time.h"
#include "common/wire.h"
#include "nbdload/load.h"
#include "nbdload/single_read.h"
#include "nbdload/window.h"

namespace blockexport::bench {

namespace {

constexpr uint64_t kGiveUpMs = 10'000;
constexpr long kPollNs = 50'000;

pid_t spawn(const std::vector<std::string>& command, int cpu) {
  std::vector<char*> words;
  for (const std::string& word : command) {
    words.push_back(const_cast<char*>(word.c_str()));
  }
  words.push_back(nullptr);
  pid_t child = fork();
  if (child == 0) {
    if (cpu >= 0) {
      cpu_set_t only;
      CPU_ZERO(&only);
      CPU_SET(static_cast<std::size_t>(cpu), &only);
      sched_setaffinity(0, sizeof only, &only);
    }
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nowhere, STDIN_FILENO);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execvp(words[0], words.data());
    _exit(127);
  }
  return child;
}

// Polls until the server has sent its greeting.
bool wait_for_greeting(const Address& address, pid_t child) {
  uint64_t give_up_ns = wall_ns() + kGiveUpMs * kNanosecondsPerMillisecond;
  while (wall_ns() < give_up_ns) {
    Channel channel = Channel::connect_to(address);
    std::array<std::byte, kGreetingSize> greeting{};
    if (channel.good() && channel.read_exactly(greeting)) {
      return load_be<uint64_t>(greeting.data()) == kGreetingMagic;
    }
    if (waitpid(child, nullptr, WNOHANG) == child) {
      return false;
    }
    timespec rest{.tv_sec = 0, .tv_nsec = kPollNs};
    nanosleep(&rest, nullptr);
  }
  return false;
}

template <typename T>
T middle(std::vector<T>& values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int run_start(const Options& options) {
  if (options.command.empty()) {
    fatal("--mode=start needs the server's command line after --");
  }
  Pattern pattern(options.salt, options.block_bytes);
  std::vector<double> start_ms;
  std::vector<uint64_t> cpu_ns;
  std::vector<uint64_t> resident;
  std::vector<uint64_t> proportional;
  for (unsigned i = 0; i < options.passes; ++i) {
    unlink(options.address.path.c_str());
    uint64_t start_ns = wall_ns();
    pid_t child = spawn(options.command, options.server_cpu);
    if (!wait_for_greeting(options.address, child)) {
      kill(child, SIGKILL);
      fatal("the server did not start to listen");
    }
    start_ms.push_back(static_cast<double>(wall_ns() - start_ns) / 1e6);
    ProcessMeter meter(child, options.server_tree);
    cpu_ns.push_back(meter.use().cpu_ns);
    SingleRead client(options, pattern);
    if (!client.run()) {
      kill(child, SIGKILL);
      fatal("the server listens but does not serve");
    }
    resident.push_back(meter.memory().resident_bytes);
    proportional.push_back(meter.memory().proportional_bytes);
    kill(child, SIGTERM);
    waitpid(child, nullptr, 0);
  }
  JsonLine line;
  line.add("starts", options.passes);
  line.add("start_ms", middle(start_ms));
  line.add("start_cpu_ns", middle(cpu_ns));
  line.add("resident_bytes", middle(resident));
  line.add("proportional_bytes", middle(proportional));
  line.add("errors", 0);
  line.print();
  return 0;
}

}  // namespace blockexport::bench
