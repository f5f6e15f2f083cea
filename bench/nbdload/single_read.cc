#include "nbdload/single_read.h"

#include <utility>

namespace blockexport::bench {

SingleRead::SingleRead(const Options& options, const Pattern& pattern)
    : options_(options), pattern_(pattern), buffer_(options.receive_buffer_bytes) {
  options_.connections = 1;
  options_.depth = 1;
  options_.shape = Shape::kSequentialRead;
}

bool SingleRead::run() {
  Channel channel = Channel::connect_to(options_.address);
  if (!channel.good()) {
    return false;
  }
  std::optional<Agreement> session = negotiate(channel, options_.negotiation);
  if (!session || session->size < options_.block_bytes) {
    return false;
  }
  Tally tally;
  Connection connection(std::move(channel), *session, options_, 0, pattern_, tally);
  uint64_t budget = 1;
  connection.refill(0, budget);
  while (connection.in_flight() != 0 && tally.breach.empty()) {
    connection.receive(buffer_, true, false);
  }
  connection.disconnect();
  return tally.clean();
}

}  // namespace blockexport::bench
