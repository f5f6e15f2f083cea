#include "nbdload/connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "common/time.h"

namespace blockexport::bench {

Connection::Connection(Channel channel, const Agreement& session, const Options& options, unsigned index,
                       const Pattern& pattern, Tally& tally)
    : channel_(std::move(channel)),
      options_(options),
      pattern_(pattern),
      tally_(tally),
      workload_(options, session.size, index),
      slots_(options, pattern, tally),
      outbox_(session.replies, options.depth),
      reader_(session.replies, slots_, tally) {
  if (options.send_buffer_bytes != 0) {
    setsockopt(fd(), SOL_SOCKET, SO_SNDBUF, &options.send_buffer_bytes, sizeof options.send_buffer_bytes);
  }
}

void Connection::refill(uint64_t now_ns, uint64_t& budget) {
  if (options_.lockstep && slots_.busy() != 0) {
    return;
  }
  while (budget != 0 && !slots_.full() && outbox_.has_capacity()) {
    const Slot& slot = slots_.open(workload_.next(), now_ns);
    bool write = slot.request.command == Command::kWrite;
    std::span<const std::byte> payload;
    if (write) {
      payload = {pattern_.at(slot.request.offset), slot.request.length};
    }
    outbox_.put(slot.request, write && options_.fua ? kCommandFua : uint16_t{0}, slot.cookie, payload);
    --budget;
  }
  send();
}

void Connection::send() {
  if (!outbox_.send_some(channel_)) {
    tally_.set_breach("the server closed the connection while it was written to");
  }
}

void Connection::receive(ReceiveBuffer& buffer, bool wait, bool need_clock) {
  do {
    std::span<const std::byte> carried = reader_.carried();
    std::byte* start = buffer.body() - carried.size();
    std::memcpy(start, carried.data(), carried.size());
    ssize_t got = channel_.receive({buffer.body(), buffer.size()}, wait);
    if (got < 0 && !wait && (errno == EAGAIN || errno == EINTR)) {
      return;
    }
    if (got <= 0) {
      tally_.set_breach(got < 0 && errno == EAGAIN ? "the server stopped replying"
                                                   : "the server closed the connection");
      return;
    }
    uint64_t before = tally_.operations;
    reader_.feed({start, carried.size() + static_cast<std::size_t>(got)}, need_clock ? wall_ns() : 0);
    answered_ += tally_.operations - before;
    wait = false;
  } while (channel_.holds_more() && tally_.breach.empty());
}

void Connection::wait_for_end(ReceiveBuffer& buffer) {
  while (channel_.receive({buffer.body(), buffer.size()}, true) > 0) {
  }
}

void Connection::disconnect() {
  outbox_.put({.command = Command::kDisconnect, .offset = 0, .length = 0}, 0, 0, {});
  send();
}

}  // namespace blockexport::bench
