#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "common/fatal.h"
#include "common/time.h"
#include "nbdload/load.h"
#include "nbdload/single_read.h"
#include "nbdload/window.h"

namespace blockexport::bench {

namespace {

constexpr uint64_t kSettleMs = 300;

void sleep_ms(uint64_t milliseconds) {
  timespec rest{.tv_sec = static_cast<time_t>(milliseconds / 1000),
                .tv_nsec = static_cast<long>(milliseconds % 1000 * kNanosecondsPerMillisecond)};
  nanosleep(&rest, nullptr);
}

struct Crowd {
  std::vector<Channel> members;
  uint64_t turned_away = 0;
};

Crowd gather(const Options& options) {
  Crowd crowd;
  crowd.members.reserve(options.connections);
  for (unsigned i = 0; i < options.connections; ++i) {
    Channel channel = Channel::connect_to(options.address);
    bool joined =
        channel.good() && (options.mode == Mode::kSilent || negotiate(channel, options.negotiation).has_value());
    if (joined) {
      crowd.members.push_back(std::move(channel));
    } else {
      ++crowd.turned_away;
    }
  }
  return crowd;
}

}  // namespace

int run_crowd(const Options& options) {
  Pattern pattern(options.salt, options.block_bytes);
  SingleRead client(options, pattern);
  // The first client makes the server allocate and initialise what any client needs.
  if (!client.run()) {
    fatal("the server does not serve even a single client");
  }
  Window window(options.server_pid, options.server_tree);
  MemoryUse before = window.meter().memory();
  Crowd crowd = gather(options);
  sleep_ms(kSettleMs);
  MemoryUse with = window.meter().memory();
  window.open();
  sleep_ms(options.duration_ms);
  window.close();
  uint64_t asked_ns = wall_ns();
  bool served = client.run();
  uint64_t answered_ns = wall_ns();

  auto each = [&crowd](uint64_t more, uint64_t less) {
    double sum = static_cast<double>(more) - static_cast<double>(less);
    return sum / static_cast<double>(std::max<std::size_t>(crowd.members.size(), 1));
  };
  JsonLine line;
  line.add("connections", crowd.members.size());
  line.add("turned_away", crowd.turned_away);
  line.add("resident_bytes", before.resident_bytes);
  line.add("resident_bytes_per_connection", each(with.resident_bytes, before.resident_bytes));
  line.add("proportional_bytes_per_connection", each(with.proportional_bytes, before.proportional_bytes));
  line.add("server_cpu_ns_per_idle_second",
           static_cast<double>(window.server_ns()) * 1e9 / static_cast<double>(window.wall_ns()));
  line.add("newcomer_served", served ? 1 : 0);
  line.add("newcomer_us", static_cast<double>(answered_ns - asked_ns) / 1e3);
  uint64_t errors = (served ? 0 : 1) + (options.mode == Mode::kIdle ? crowd.turned_away : 0);
  line.add("errors", errors);
  line.print();
  return errors == 0 ? 0 : 1;
}

}  // namespace blockexport::bench
