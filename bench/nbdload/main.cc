#include <csignal>

#include "nbdload/load.h"
#include "nbdload/options.h"

int main(int count, char** values) {
  using namespace blockexport::bench;
  std::signal(SIGPIPE, SIG_IGN);
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
