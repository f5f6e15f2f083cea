#include "export/nbd/server/client_list.h"

#include <algorithm>

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
  auto known = std::ranges::find(places_, &client.place(), &Place::reactor);
  if (known == places_.end()) {
    places_.push_back({.reactor = &client.place(), .clients = 1});
  } else {
    ++known->clients;
  }
}

void ClientList::detach(PlacedTransmission& client) {
  std::erase(clients_, &client);
  auto known = std::ranges::find(places_, &client.place(), &Place::reactor);
  if (--known->clients == 0) places_.erase(known);
}

// A client that is not served yet at its reactor is not seen there; it sees us when its service begins, by its number.
aio::Task<void> ClientList::notice_lost_clients() const {
  // The newcomer alone: there is nobody to look for.
  if (clients_.size() < 2) co_return;
  const std::vector<Place> places = places_;
  for (const Place& place : places) {
    co_await aio::run_on(*place.reactor, "nbd hang-up report", report_hang_ups(place.reactor->reactor));
  }
}

}  // namespace blockexport::nbd
