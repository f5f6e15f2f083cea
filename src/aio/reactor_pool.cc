#include "aio/reactor_pool.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cassert>

namespace blockexport::aio {

std::uint32_t usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // With more processors than the set holds it fails; then there are enough for any limit of ours.
  if (sched_getaffinity(0, sizeof set, &set) != 0) return CPU_SETSIZE;
  return std::max(1u, static_cast<std::uint32_t>(CPU_COUNT(&set)));
}

ReactorPool::ReactorPool(DataReactor& control, ReactorOptions options, const Log& log, std::uint32_t count_max)
    : options_(options), log_(log), count_max_(count_max) {
  assert(count_max > 0);
  places_.push_back(Place{.reactor = &control, .thread = nullptr});
}

ReactorPool::~ReactorPool() {
  assert(std::ranges::all_of(places_, [](const Place& one) { return one.reactor->seats_taken == 0; }));
}

DataReactor& ReactorPool::least_taken() {
  return *std::ranges::min_element(places_, {}, [](const Place& one) { return one.reactor->seats_taken; })->reactor;
}

ReactorPool::Seat ReactorPool::take_seat() {
  if (least_taken().seats_taken > 0 && places_.size() < count_max_) start_one();
  return Seat(least_taken());
}

ReactorPool::Seat ReactorPool::take_seat_at(std::span<DataReactor* const> places) {
  assert(!places.empty());
  return Seat(**std::ranges::min_element(places, {}, &DataReactor::seats_taken));
}

void ReactorPool::start_one() {
  auto thread = ReactorThread::start(fmt::format("reactor-{}", places_.size()), options_, log_);
  if (!thread) {
    log_.warning(
        fmt::format("clients are served by {} threads, not more: {}", places_.size(), thread.error().message()));
    // Not asked again for each client.
    count_max_ = static_cast<std::uint32_t>(places_.size());
    return;
  }
  DataReactor& place = (*thread)->place();
  places_.push_back(Place{.reactor = &place, .thread = std::move(*thread)});
}

}  // namespace blockexport::aio
