#include "export/nbd/server/client_list.h"

#include <algorithm>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "export/nbd/server/placed_transmission.h"

namespace blockexport::nbd {
namespace {

aio::Task<void> report_hang_ups(aio::Reactor& reactor) {
  reactor.report_hang_ups();
  co_return;
}

}  // namespace

void ClientList::attach(PlacedTransmission& client) {
  clients_.push_back(&client);
  client.attached(newest_number_, ++newest_number_);
  auto known = std::ranges::find(reactors_, &client.data_reactor(), &ServingReactor::reactor);
  if (known == reactors_.end()) {
    reactors_.push_back({.reactor = &client.data_reactor(), .clients = 1});
  } else {
    ++known->clients;
  }
}

void ClientList::detach(PlacedTransmission& client) {
  std::erase(clients_, &client);
  auto known = std::ranges::find(reactors_, &client.data_reactor(), &ServingReactor::reactor);
  if (--known->clients == 0) reactors_.erase(known);
}

// A client whose service has not begun is not found at its reactor yet; when it begins, it compares its number with
// that of the newest client (Transmission::begin_hang_up_watch).
aio::Task<void> ClientList::pass_barrier() const {
  // The newcomer is the only client: no other can have left writes behind.
  if (clients_.size() < 2) co_return;
  aio::Scope acknowledgements(co_await aio::current_reactor());
  for (const ServingReactor& one : reactors_) {
    acknowledgements.spawn("nbd barrier",
                           aio::run_on(*one.reactor, "nbd hang-up report", report_hang_ups(one.reactor->reactor)));
  }
  co_await acknowledgements.join();
}

}  // namespace blockexport::nbd
