#include <sys/resource.h>

#include <csignal>

#include "nbdload/load.h"
#include "nbdload/options.h"

namespace {

// Thousands of connections need as many descriptors.
void allow_many_files() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int count, char** values) {
  using namespace blockexport::bench;
  std::signal(SIGPIPE, SIG_IGN);
  allow_many_files();
  Options options = read_options(count, values);
  switch (options.mode) {
    case Mode::kLoad:
      return run_load(options);
    case Mode::kMap:
      return run_map(options);
    case Mode::kRate:
      return run_rate(options);
    case Mode::kIdle:
    case Mode::kSilent:
      return run_crowd(options);
    case Mode::kStart:
      return run_start(options);
  }
  return 2;
}
