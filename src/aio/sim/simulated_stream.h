// SimulatedStream: one end of a simulated stream connection, and SimulatedListener, which accepts them.
// Owned by descriptors. Thread: the simulation's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>

#include "aio/sim/random.h"
#include "base/errno.h"

namespace blockexport::aio {

// The behaviour of connections.
struct StreamRules {
  std::size_t buffer_bytes = 64u << 10;
  bool byte_by_byte = false;  // receive at most one byte at a time
  bool any_length = false;    // receive and send a random part of what is possible
};

class SimulatedStream {
 public:
  // Two connected ends.
  static std::pair<std::shared_ptr<SimulatedStream>, std::shared_ptr<SimulatedStream>> pair();

  IoCount receive(std::span<std::byte> out, const StreamRules& rules, Random& random);
  IoCount send(std::span<const std::byte> data, const StreamRules& rules, Random& random);
  // All events that poll(2) would report.
  std::uint32_t ready(const StreamRules& rules) const;

  // Ends both directions. Bytes in transit can still be received.
  void shut_down();
  // Resets the connection: bytes in transit are lost at both ends.
  void reset();

 private:
  std::deque<std::byte> incoming_;
  std::weak_ptr<SimulatedStream> peer_;
  bool ended_ = false;  // no bytes follow those in incoming_
  bool may_send_ = true;
  bool was_reset_ = false;
};

struct SimulatedListener {
  std::deque<int> waiting;  // descriptors to accept
};

}  // namespace blockexport::aio
