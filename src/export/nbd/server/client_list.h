// ClientList: the clients that an export has, and the order in which they came to it.
//
// Owned by the export. Its purpose beside counting: whatever a client left behind when it died is dealt with before a
// client that came after its death is served (see write_fence.h). Thread: the control reactor, except newest_number().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "aio/data_reactor.h"

namespace blockexport::nbd {

class PlacedTransmission;

class ClientList {
 public:
  // `client` is neither served yet nor ever was; it stays in the list until detach().
  void attach(PlacedTransmission& client);
  void detach(PlacedTransmission& client);

  std::size_t size() const { return clients_.size(); }
  auto begin() const { return clients_.begin(); }
  auto end() const { return clients_.end(); }

  // The number of the client that was attached last. Any thread.
  std::uint64_t newest_number() const { return newest_number_.load(); }

  // Returns when every reactor that serves clients of this list has noticed which of them are gone by now, and has
  // raised their fence. Awaited between attach() and the beginning of the service.
  aio::Task<void> notice_lost_clients() const;

 private:
  struct Place {
    aio::DataReactor* reactor;
    std::size_t clients;
  };

  std::vector<PlacedTransmission*> clients_;
  std::vector<Place> places_;  // those with clients, each once
  std::atomic<std::uint64_t> newest_number_ = 0;
};

}  // namespace blockexport::nbd
