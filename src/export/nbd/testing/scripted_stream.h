// For tests and fuzzers: a Stream without a socket. It receives a list of segments, and records the bytes that are
// sent.
//
// Each receive returns at most one segment, and between two of them the stream is empty for a moment. The state
// outlives the stream. Thread: the reactor's. Not part of the daemon.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

#include "aio/reactor/reactor.h"
#include "aio/sync/sync.h"
#include "aio/task/current.h"
#include "net/stream.h"

namespace blockexport::nbd::testing {

struct StreamScript {
  std::deque<std::vector<std::byte>> input = {};  // segments
  bool ends = true;                               // after the last segment the stream ends; else the peer is silent
  std::vector<std::byte> output = {};
  std::size_t sends = 0;                  // that accepted bytes
  std::size_t send_bytes_max = SIZE_MAX;  // of one send
  std::size_t sends_max = SIZE_MAX;       // after that many, the stream accepts nothing
  bool reads = true;                      // false: the peer reads nothing
  bool shut_down = false;
};

class ScriptedStream final : public net::Stream {
 public:
  ScriptedStream(aio::Reactor& reactor, StreamScript& script) : reactor_(reactor), script_(script), ended_(reactor) {}

  IoCount try_receive(std::span<std::byte> buffer) override {
    if (script_.shut_down) return std::size_t{0};
    if (script_.input.empty()) {
      if (script_.ends) return std::size_t{0};
      return fail(EAGAIN);
    }
    if (!std::exchange(ready_, false)) return fail(EAGAIN);
    std::vector<std::byte>& segment = script_.input.front();
    std::size_t count = std::min(buffer.size(), segment.size());
    std::copy_n(segment.begin(), count, buffer.begin());
    segment.erase(segment.begin(), segment.begin() + static_cast<std::ptrdiff_t>(count));
    ready_ = !segment.empty();
    if (segment.empty()) script_.input.pop_front();
    return count;
  }
  IoCount try_send(std::span<const iovec> vectors) override {
    if (script_.shut_down) return fail(EPIPE);
    if (!script_.reads || script_.sends >= script_.sends_max) return fail(EAGAIN);
    std::size_t count = 0;
    for (const iovec& vector : vectors) {
      std::size_t step = std::min(vector.iov_len, script_.send_bytes_max - count);
      const auto* data = static_cast<const std::byte*>(vector.iov_base);
      script_.output.insert(script_.output.end(), data, data + step);
      count += step;
    }
    ++script_.sends;
    return count;
  }
  bool can_send_files() const override { return true; }
  IoCount try_send_file(std::span<const iovec> head, int fd, std::uint64_t offset, std::uint64_t length) override {
    if (script_.shut_down) return fail(EPIPE);
    std::vector<std::byte> data(std::min<std::uint64_t>(length, script_.send_bytes_max));
    iovec into{.iov_base = data.data(), .iov_len = data.size()};
    IoCount got = reactor_.try_read(fd, {&into, 1}, offset);
    // The simulation fails some receives at random.
    while (!got && got.error() == Errno(EAGAIN)) got = reactor_.try_read(fd, {&into, 1}, offset);
    if (!got) return got;
    if (*got == 0 && head.empty()) return fail(ENODATA);
    std::vector<iovec> vectors(head.begin(), head.end());
    vectors.push_back({.iov_base = data.data(), .iov_len = *got});
    return try_send(vectors);
  }
  aio::Task<IoResult> readable() override {
    bool silent = script_.input.empty() && !script_.ends;
    if (silent && !script_.shut_down) co_return co_await ended_.wait();
    co_await aio::next_turn();
    ready_ = true;
    if ((co_await aio::current_task()).cancelled) co_return fail(ECANCELED);
    co_return IoResult{};
  }
  aio::Task<IoResult> writable() override {
    if (!script_.reads && !script_.shut_down) co_return co_await ended_.wait();
    co_await aio::next_turn();
    co_return IoResult{};
  }
  aio::Task<IoResult> hung_up() override {
    if (!script_.ends || !script_.input.empty()) co_return co_await ended_.wait();
    co_await aio::next_turn();
    co_return IoResult{};
  }
  // The tests that use this stream do not call it.
  IoResult watch_hang_up(aio::HangUpWatch&) override { return {}; }
  void shut_down() override {
    script_.shut_down = true;
    ended_.set();
  }
  // The tests that use this stream have one reactor.
  void detach() override {}
  void attach(aio::Reactor&) override {}

 private:
  aio::Reactor& reactor_;
  StreamScript& script_;
  aio::Event ended_;
  bool ready_ = true;
};

}  // namespace blockexport::nbd::testing
