#include "export/nbd/server/placed_transmission.h"

#include <cassert>
#include <utility>

namespace blockexport::nbd {

PlacedTransmission::~PlacedTransmission() {
  assert(!transmission_);
}

void PlacedTransmission::attached(const std::atomic<std::uint64_t>& newest_number, std::uint64_t number) {
  newest_number_ = &newest_number;
  number_ = number;
}

aio::Task<void> PlacedTransmission::run(std::unique_ptr<net::Stream> stream, SessionState state,
                                        std::vector<std::byte> early) {
  if (&data_reactor_.reactor != &control_) stream->detach();
  return aio::run_on(data_reactor_, "nbd transmission", serve(std::move(stream), std::move(state), std::move(early)));
}

aio::Task<void> PlacedTransmission::serve(std::unique_ptr<net::Stream> stream, SessionState state,
                                          std::vector<std::byte> early) {
  if (&data_reactor_.reactor != &control_) stream->attach(data_reactor_.reactor);
  context_.was_overtaken = newest_number_ != nullptr && newest_number_->load() > number_;
  transmission_.emplace(context_, std::move(stream), std::move(state), early);
  // Frees the memory of the list: assigning an empty list would keep it for the client's whole life.
  early = std::vector<std::byte>();
  for (Call call : std::exchange(early_calls_, {})) take(call);
  co_await transmission_->take_requests();
  if (transmission_->has_requests_in_flight()) {
    if (&data_reactor_.reactor == &control_) {
      requests_are_left();
    } else {
      // This call arrives before the end of run(), which is posted later.
      control_.post([this] { requests_are_left(); });
    }
  }
  co_await transmission_->end();
}

void PlacedTransmission::requests_are_left() {
  waits_for_storage_ = true;
  if (observer_ != nullptr) observer_->client_waits_for_storage();
}

aio::Task<void> PlacedTransmission::destroy() {
  return aio::run_on(data_reactor_, "nbd transmission end", free());
}

aio::Task<void> PlacedTransmission::free() {
  transmission_->close();
  transmission_.reset();
  co_return;
}

void PlacedTransmission::tell(Call call) {
  if (&data_reactor_.reactor == &control_) return take(call);
  data_reactor_.reactor.post([this, call] { take(call); });
}

void PlacedTransmission::take(Call call) {
  if (transmission_) {
    ((*transmission_).*call)();
  } else {
    early_calls_.push_back(call);
  }
}

}  // namespace blockexport::nbd
