// Connection: an NBD connection under load: a workload fills an outbox, and a reply reader processes the replies.
//
// Thread: one owner, the load loop. All connections share one receive buffer, so it stays in the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "common/channel.h"
#include "nbdload/outbox.h"
#include "nbdload/reply_reader.h"
#include "nbdload/slots.h"

namespace blockexport::bench {

// The shared receive buffer; space at its front holds the bytes that a connection carried over.
class ReceiveBuffer {
 public:
  explicit ReceiveBuffer(std::size_t bytes) : storage_(ReplyReader::kLongestHead + bytes) {}
  std::byte* body() { return storage_.data() + ReplyReader::kLongestHead; }
  std::size_t size() const { return storage_.size() - ReplyReader::kLongestHead; }

 private:
  std::vector<std::byte> storage_;
};

class Connection {
 public:
  Connection(Channel channel, const Agreement& session, const Options& options, unsigned index, const Pattern& pattern,
             Tally& tally);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return channel_.fd(); }
  unsigned in_flight() const { return slots_.busy(); }
  bool wants_to_send() const { return !outbox_.empty() || channel_.has_unsent(); }
  uint64_t answered() const { return answered_; }

  // Queues requests until the depth is reached or `budget` (decremented) is used up, and sends what it can.
  void refill(uint64_t now_ns, uint64_t& budget);
  void send();

  // Receives once (with TLS: all that has arrived) and checks the received bytes. `wait`: block until bytes arrive.
  void receive(ReceiveBuffer& buffer, bool wait, bool need_clock);

  // Sends NBD_CMD_DISC; the destructor closes the socket.
  void disconnect();

  // After disconnect(): blocks until the server has closed the connection too.
  void wait_for_end(ReceiveBuffer& buffer);

 private:
  Channel channel_;
  const Options& options_;
  const Pattern& pattern_;
  Tally& tally_;
  Workload workload_;
  Slots slots_;
  Outbox outbox_;
  ReplyReader reader_;
  uint64_t answered_ = 0;
};

}  // namespace blockexport::bench
