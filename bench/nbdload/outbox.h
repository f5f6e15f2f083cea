// Outbox: requests waiting to be sent on one connection, sent with as few calls as possible.
//
// Headers lie back to back, so a batch of reads is one contiguous send; write payloads are pointers into the pattern.
// Thread: one owner. Payloads must live until they are sent (the pattern lives for ever).
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

  // Room for one more request? After partial sends there may be none until the rest has left.
  bool has_room() const { return used_ + kHeaderRoom <= headers_.size(); }
  bool empty() const { return first_ == pieces_.size(); }

  void put(const Request& request, uint16_t flags, uint64_t cookie, std::span<const std::byte> payload);

  // Sends what the socket takes without blocking. False when the connection is broken.
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
