#include "nbdload/load.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "common/fatal.h"
#include "common/time.h"
#include "common/wire.h"
#include "nbdload/connection.h"
#include "nbdload/window.h"

namespace blockexport::bench {

namespace {

constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max();
constexpr int kPatienceMs = Channel::kPatienceSeconds * 1000;

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options),
        pattern_(options.salt, options.block_bytes, options.vocabulary),
        buffer_(options.receive_buffer_bytes) {}

  int run() {
    connect_all();
    if (options_.warmup_ms != 0) {
      turn_until(wall_ns() + options_.warmup_ms * kNanosecondsPerMillisecond, kForever);
      if (options_.operations != 0) {
        drain();
      }
    }
    Window window(options_.server_pid, options_.server_tree);
    std::vector<uint64_t> answered_before = answered();
    tally_.latency.clear();
    uint64_t operations = tally_.operations;
    uint64_t bytes = tally_.bytes;
    window.open();
    if (options_.operations != 0) {
      turn_until(kForever, options_.operations);
    } else {
      turn_until(wall_ns() + options_.duration_ms * kNanosecondsPerMillisecond, kForever);
    }
    window.close();
    operations = tally_.operations - operations;
    bytes = tally_.bytes - bytes;
    std::vector<uint64_t> answered_after = answered();
    double slowest = slowest_share(answered_before, answered_after, operations);
    JsonLine line;
    report(line, window, operations, bytes, slowest);
    drain();
    finish(line);
    return tally_.clean() ? 0 : 1;
  }

 private:
  void connect_all() {
    for (unsigned i = 0; i < options_.connections; ++i) {
      Channel channel = Channel::connect_to(options_.address);
      if (!channel.good()) {
        fatal("connect: {}", std::strerror(errno));
      }
      std::optional<Agreement> session = negotiate(channel, options_.negotiation);
      if (!session) {
        fatal("the server refused connection {} during the handshake", i);
      }
      session_ = *session;
      check_flags();
      connections_.push_back(std::make_unique<Connection>(std::move(channel), session_, options_, i, pattern_, tally_));
    }
    if (connections_.size() > 1) {
      watch_all();
    }
  }

  // Without these flags the server need not support the commands, and the measurement would be wrong.
  void check_flags() const {
    bool flushes = options_.shape == Shape::kFlush || options_.shape == Shape::kFlushedWrite;
    if (flushes && (session_.flags & kTransmissionSendFlush) == 0) {
      fatal("the server does not offer flush");
    }
    if (options_.fua && (session_.flags & kTransmissionSendFua) == 0) {
      fatal("the server does not offer FUA");
    }
  }

  void watch_all() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    watched_.resize(connections_.size());
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i]->fd(), &event) != 0) {
        fatal("epoll: {}", std::strerror(errno));
      }
    }
  }

  void refill_all(uint64_t now, uint64_t& budget) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      connections_[i]->refill(now, budget);
      if (connections_.size() > 1) {
        watch(i);
      }
    }
  }

  // Runs until the clock reaches `end_ns`, or until `budget` requests were sent and all are answered.
  void turn_until(uint64_t end_ns, uint64_t budget) {
    uint64_t now = wall_ns();
    refill_all(now, budget);
    while (now < end_ns && tally_.breach.empty() && (budget != 0 || in_flight() != 0)) {
      if (connections_.size() == 1) {
        turn_single(budget);
      } else {
        turn_many(budget);
      }
      now = wall_ns();
    }
  }

  void turn_single(uint64_t& budget) {
    Connection& connection = *connections_.front();
    if (connection.wants_to_send()) {
      pollfd events{.fd = connection.fd(), .events = POLLIN | POLLOUT, .revents = 0};
      poll(&events, 1, kPatienceMs);
      connection.send();
    }
    bool wait = !connection.wants_to_send() && connection.in_flight() != 0;
    connection.receive(buffer_, wait, options_.latency);
    connection.refill(options_.latency ? wall_ns() : 0, budget);
  }

  void turn_many(uint64_t& budget) {
    constexpr int kMostEvents = 64;
    std::array<epoll_event, kMostEvents> events;
    int ready = epoll_wait(epoll_, events.data(), kMostEvents, kPatienceMs);
    if (ready == 0) {
      tally_.set_breach("the server stopped replying");
    }
    for (int i = 0; i < ready; ++i) {
      std::size_t index = events[i].data.u64;
      Connection& connection = *connections_[index];
      if ((events[i].events & EPOLLOUT) != 0) {
        connection.send();
      }
      if ((events[i].events & ~uint32_t{EPOLLOUT}) != 0) {
        connection.receive(buffer_, false, options_.latency);
      }
      if (!options_.lockstep) {
        connection.refill(options_.latency ? wall_ns() : 0, budget);
      }
      watch(index);
    }
    // In lockstep the next batch is sent on all connections together.
    if (options_.lockstep && in_flight() == 0) {
      refill_all(options_.latency ? wall_ns() : 0, budget);
    }
  }

  // Polls for writability only while data is unsent.
  void watch(std::size_t index) {
    bool wanted = connections_[index]->wants_to_send();
    if (wanted == watched_[index]) {
      return;
    }
    watched_[index] = wanted;
    epoll_event event{.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data = {.u64 = index}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, connections_[index]->fd(), &event);
  }

  unsigned in_flight() const {
    unsigned sum = 0;
    for (const auto& connection : connections_) {
      sum += connection->in_flight();
    }
    return sum;
  }

  void drain() { turn_until(wall_ns() + Channel::kPatienceSeconds * kNanosecondsPerSecond, 0); }

  std::vector<uint64_t> answered() const {
    std::vector<uint64_t> counts;
    for (const auto& connection : connections_) {
      counts.push_back(connection->answered());
    }
    return counts;
  }

  // Operations of the slowest connection as a fraction of the mean: 1 is perfectly fair.
  static double slowest_share(const std::vector<uint64_t>& before, const std::vector<uint64_t>& after, uint64_t sum) {
    uint64_t slowest = kForever;
    for (std::size_t i = 0; i < after.size(); ++i) {
      slowest = std::min(slowest, after[i] - before[i]);
    }
    return sum == 0 ? 0 : static_cast<double>(slowest * after.size()) / static_cast<double>(sum);
  }

  void report(JsonLine& line, const Window& window, uint64_t operations, uint64_t bytes, double slowest) const {
    constexpr double kBytesPerMegabyte = 1e6;
    constexpr double kNanosecondsPerMicrosecond = 1e3;
    line.add("workload", name_of(options_.shape));
    line.add("replies", name_of(session_.replies));
    line.add("cipher", session_.cipher);
    line.add("connections", options_.connections);
    line.add("depth", options_.depth);
    line.add("block", options_.block_bytes);
    window.report(line, "op", operations);
    line.add("megabytes_per_second", static_cast<double>(bytes) / kBytesPerMegabyte /
                                         (static_cast<double>(window.wall_ns()) / kNanosecondsPerSecond));
    line.add("slowest_connection_share", slowest);
    if (options_.latency) {
      auto at = [&](double part) {
        return static_cast<double>(tally_.latency.percentile(part)) / kNanosecondsPerMicrosecond;
      };
      line.add("p50_us", at(0.5));
      line.add("p99_us", at(0.99));
      line.add("p999_us", at(0.999));
      line.add("max_us", at(1));
    }
  }

  void finish(JsonLine& line) {
    for (auto& connection : connections_) {
      connection->disconnect();
      // So the server's work at the end of a connection is always counted.
      if (options_.lockstep) {
        connection->wait_for_end(buffer_);
      }
    }
    line.add("refused", tally_.refused);
    line.add("wrong_data", tally_.wrong_data);
    line.add("breach", tally_.breach);
    line.add("errors", tally_.refused + tally_.wrong_data + (tally_.breach.empty() ? 0 : 1));
    line.print();
    if (epoll_ >= 0) {
      close(epoll_);
    }
  }

  const Options& options_;
  Pattern pattern_;
  ReceiveBuffer buffer_;
  Tally tally_;
  Agreement session_;
  std::vector<std::unique_ptr<Connection>> connections_;
  int epoll_ = -1;
  std::vector<bool> watched_;
};

}  // namespace

int run_load(const Options& options) {
  return Load(options).run();
}

}  // namespace blockexport::bench
