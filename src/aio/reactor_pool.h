// ReactorPool: the data reactors that serve whoever asked for no particular one: the control reactor, and threads that
// are started when they are first needed.
//
// Owned by the control layer; thread: the control reactor. Who is served holds a Seat, so that the next one gets the
// reactor with the fewest. A thread that was started stays until the pool ends.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>

#include "aio/reactor_thread.h"

namespace blockexport::aio {

// Data reactors that are made by themselves, however many processors there are.
inline constexpr std::uint32_t kDataReactorsMax = 64;

// Processors that this process may run on; at least 1.
std::uint32_t usable_processors();

class ReactorPool {
 public:
  // At most `count_max` reactors, with `control` among them, which outlives the pool. `options` are for the threads.
  ReactorPool(DataReactor& control, ReactorOptions options, const Log& log, std::uint32_t count_max);
  ~ReactorPool();
  ReactorPool(const ReactorPool&) = delete;
  ReactorPool& operator=(const ReactorPool&) = delete;

  // A place at a reactor, counted there until it dies; not later than the reactor.
  class Seat {
   public:
    explicit Seat(DataReactor& place) : place_(&place) { ++place.seats_taken; }
    Seat(Seat&& other) noexcept : place_(std::exchange(other.place_, nullptr)) {}
    Seat& operator=(Seat&&) = delete;
    ~Seat() {
      if (place_ != nullptr) --place_->seats_taken;
    }
    DataReactor& place() const { return *place_; }

   private:
    DataReactor* place_;
  };
  // A seat at the reactor with the fewest. When all of them serve somebody and there may be more, one more is started;
  // where that fails, those that are there have to do.
  Seat take_seat();
  // One at the place with the fewest of `places`, which belong to somebody else and are not empty; the first such one.
  static Seat take_seat_at(std::span<DataReactor* const> places);

  // Those that run by now, the control reactor first: show(name, place).
  template <class Show>
  void for_each(Show show) {
    for (Place& one : places_) show(one.thread != nullptr ? one.thread->name() : "main", *one.reactor);
  }

 private:
  struct Place {
    DataReactor* reactor;
    std::unique_ptr<ReactorThread> thread;  // null for the control reactor
  };
  DataReactor& least_taken();
  void start_one();

  ReactorOptions options_;
  const Log& log_;
  std::uint32_t count_max_;
  std::deque<Place> places_;
};

}  // namespace blockexport::aio
