// ClientList: the clients of an export in the order in which they came, and the barrier that a new client waits for.
//
// The barrier proves that no write of a client that ended before a newcomer arrived can follow the newcomer's writes:
// each reactor that serves a client of the list runs one posted task, which asks the kernel for the connections that
// have ended and raises the write fence for them (write_fence.h), and then acknowledges. The newcomer is served after
// the last acknowledgement; neither a number of turns nor a delay would prove this. Owned by the export, which keeps
// those reactors alive. Thread: the control reactor, except newest_number().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "aio/threads/data_reactor.h"

namespace blockexport::nbd {

class PlacedTransmission;

class ClientList {
 public:
  // `client` has not been served yet; it stays in the list until detach().
  void attach(PlacedTransmission& client);
  void detach(PlacedTransmission& client);

  std::size_t size() const { return clients_.size(); }
  auto begin() const { return clients_.begin(); }
  auto end() const { return clients_.end(); }

  // Number of the newest client. Any thread.
  std::uint64_t newest_number() const { return newest_number_.load(); }

  // Returns when every reactor that serves a client of this list has acknowledged that it raised the fence for the
  // clients that have ended by now. The reactors do so in parallel. The wait has no deadline, because a reactor that
  // has not acknowledged may still hold a lost client's writes. A reactor whose thread is being ended acknowledges
  // before it ends. Await it between attach() and the beginning of the service; not cancellable.
  aio::Task<void> pass_barrier() const;

 private:
  struct ServingReactor {
    aio::DataReactor* reactor;
    std::size_t clients;
  };

  std::vector<PlacedTransmission*> clients_;
  std::vector<ServingReactor> reactors_;  // each reactor with clients, once
  std::atomic<std::uint64_t> newest_number_ = 0;
};

}  // namespace blockexport::nbd
