#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "common/fatal.h"
#include "common/time.h"
#include "nbdload/load.h"
#include "nbdload/single_read.h"
#include "nbdload/window.h"

namespace blockexport::bench {

namespace {

// This many failed connections end the run, whose result would be useless.
constexpr uint64_t kMostFailures = 16;

}  // namespace

int run_rate(const Options& options) {
  Pattern pattern(options.salt, options.block_bytes);
  std::atomic<uint64_t> conversations{0};
  std::atomic<uint64_t> failures{0};
  Window window(options.server_pid, options.server_tree);
  window.open();
  uint64_t end_ns = wall_ns() + options.duration_ms * kNanosecondsPerMillisecond;
  auto converse = [&] {
    SingleRead client(options, pattern);
    // At least one per measurement: on a busy machine the first may take the whole window.
    do {
      (client.run() ? conversations : failures).fetch_add(1);
    } while (failures.load() < kMostFailures && wall_ns() < end_ns);
  };
  std::vector<std::thread> clients;
  for (unsigned i = 1; i < options.connections; ++i) {
    clients.emplace_back(converse);
  }
  converse();
  for (std::thread& client : clients) {
    client.join();
  }
  window.close();
  JsonLine line;
  line.add("parallel", options.connections);
  window.report(line, "connection", conversations.load());
  line.add("errors", failures.load());
  line.print();
  return failures.load() == 0 && conversations.load() != 0 ? 0 : 1;
}

}  // namespace blockexport::bench
