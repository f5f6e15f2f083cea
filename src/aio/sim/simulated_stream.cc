#include "aio/sim/simulated_stream.h"

#include <poll.h>

#include <algorithm>

namespace blockexport::aio {

std::pair<std::shared_ptr<SimulatedStream>, std::shared_ptr<SimulatedStream>> SimulatedStream::pair() {
  auto one = std::make_shared<SimulatedStream>();
  auto other = std::make_shared<SimulatedStream>();
  one->peer_ = other;
  other->peer_ = one;
  return {one, other};
}

IoCount SimulatedStream::receive(std::span<std::byte> out, const StreamRules& rules, Random& random) {
  if (was_reset_) return fail(ECONNRESET);
  if (out.empty()) return std::size_t{0};
  if (incoming_.empty()) {
    if (ended_) return std::size_t{0};
    return fail(EAGAIN);
  }
  std::size_t count = std::min(out.size(), incoming_.size());
  if (rules.byte_by_byte) count = 1;
  if (rules.any_length) count = random.between(1, count);
  auto end = incoming_.begin() + static_cast<std::ptrdiff_t>(count);
  std::copy(incoming_.begin(), end, out.begin());
  incoming_.erase(incoming_.begin(), end);
  return count;
}

IoCount SimulatedStream::send(std::span<const std::byte> data, const StreamRules& rules, Random& random) {
  std::shared_ptr<SimulatedStream> peer = peer_.lock();
  if (!may_send_ || peer == nullptr) return fail(EPIPE);
  if (data.empty()) return std::size_t{0};
  std::size_t held = peer->incoming_.size();
  if (held >= rules.buffer_bytes) return fail(EAGAIN);
  std::size_t count = std::min(data.size(), rules.buffer_bytes - held);
  if (rules.any_length) count = random.between(1, count);
  peer->incoming_.insert(peer->incoming_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

std::uint32_t SimulatedStream::ready(const StreamRules& rules) const {
  std::uint32_t events = 0;
  std::shared_ptr<SimulatedStream> peer = peer_.lock();
  if (!incoming_.empty() || ended_ || was_reset_) events |= POLLIN;
  if (!may_send_ || peer == nullptr || peer->incoming_.size() < rules.buffer_bytes) events |= POLLOUT;
  if (ended_ && !may_send_) events |= POLLHUP;
  if (was_reset_) events |= POLLERR | POLLHUP;
  return events;
}

void SimulatedStream::shut_down() {
  ended_ = true;
  may_send_ = false;
  if (std::shared_ptr<SimulatedStream> peer = peer_.lock()) {
    peer->ended_ = true;
    peer->may_send_ = false;
  }
}

void SimulatedStream::reset() {
  std::shared_ptr<SimulatedStream> peer = peer_.lock();
  for (SimulatedStream* end : {this, peer.get()}) {
    if (end == nullptr) continue;
    end->incoming_.clear();
    end->was_reset_ = true;
    end->may_send_ = false;
  }
}

}  // namespace blockexport::aio
