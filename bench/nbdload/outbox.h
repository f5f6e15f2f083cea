// Outbox: send queue of one connection's requests, which it sends with as few calls as possible.
//
// Headers are contiguous, so a batch of reads is one send; write payloads are pointers into the pattern. Thread: one
// owner. Payloads must exist until they are sent (the pattern exists until the process ends).
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/channel.h"
#include "common/negotiate.h"
#include "nbdload/workload.h"

namespace blockexport::bench {

class Outbox {
 public:
  Outbox(Replies replies, unsigned depth);

  // True if one more request fits. After partial sends none may fit until the rest is sent.
  bool has_capacity() const { return used_ + kHeaderRoom <= headers_.size(); }
  bool empty() const { return first_ == pieces_.size(); }

  void put(const Request& request, uint16_t flags, uint64_t cookie, std::span<const std::byte> payload);

  // Sends as much as the socket accepts without blocking. False when the connection is broken.
  [[nodiscard]] bool send_some(Channel& channel);

 private:
  static constexpr std::size_t kHeaderRoom = 32;

  void drop_sent(std::size_t bytes);

  bool extended_;
  std::vector<std::byte> headers_;
  std::size_t used_ = 0;
  std::vector<iovec> pieces_;
  std::size_t first_ = 0;
};

}  // namespace blockexport::bench
