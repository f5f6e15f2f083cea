#include "export/nbd/server/placed_transmission.h"

#include <cassert>
#include <utility>

#include "aio/current.h"

namespace blockexport::nbd {
namespace {

// From bytes and a hang-up that wait in a socket to a raised fence: the reader has its turn, sees the end, perhaps only
// by a watch that it starts because it waits for memory, and is joined.
constexpr int kCatchUpTurns = 6;

aio::Task<void> take_turns() {
  for (int turn = 0; turn < kCatchUpTurns; ++turn) co_await aio::next_turn();
}

}  // namespace

PlacedTransmission::~PlacedTransmission() {
  assert(!transmission_);
}

aio::Task<void> PlacedTransmission::run(std::unique_ptr<net::Stream> stream, SessionState state,
                                        std::vector<std::byte> early) {
  if (&place_.reactor != &control_) stream->detach();
  return aio::run_on(place_, "nbd transmission", serve(std::move(stream), std::move(state), std::move(early)));
}

aio::Task<void> PlacedTransmission::serve(std::unique_ptr<net::Stream> stream, SessionState state,
                                          std::vector<std::byte> early) {
  if (&place_.reactor != &control_) stream->attach(place_.reactor);
  transmission_.emplace(context_, std::move(stream), std::move(state), early);
  // All of it: an empty list assigned would leave its memory here for the client's whole life.
  early = std::vector<std::byte>();
  for (Call call : std::exchange(early_calls_, {})) take(call);
  co_await transmission_->run();
}

aio::Task<void> PlacedTransmission::destroy() {
  return aio::run_on(place_, "nbd transmission end", free());
}

aio::Task<void> PlacedTransmission::free() {
  transmission_->close();
  transmission_.reset();
  co_return;
}

void PlacedTransmission::tell(Call call) {
  if (&place_.reactor == &control_) return take(call);
  place_.reactor.post([this, call] { take(call); });
}

void PlacedTransmission::take(Call call) {
  if (transmission_) {
    ((*transmission_).*call)();
  } else {
    early_calls_.push_back(call);
  }
}

aio::Task<void> catch_up(aio::DataReactor& place) {
  return aio::run_on(place, "nbd catch up", take_turns());
}

}  // namespace blockexport::nbd
