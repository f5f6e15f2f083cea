// ReactorPool: the data reactors for clients of exports without an iothread: the control reactor, and threads that are
// started on demand.
//
// Owned by the control layer; thread: the control reactor's. Each client holds an Assignment, so that the next client
// gets the reactor with the fewest. A started thread runs until the pool is destroyed.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>

#include "aio/threads/reactor_thread.h"

namespace blockexport::aio {

// Most data reactors that the pool starts, however many processors there are.
inline constexpr std::uint32_t kDataReactorsMax = 64;

class ReactorPool {
 public:
  // At most `count_max` reactors, including `control`, which outlives the pool. `options` are for the threads.
  ReactorPool(DataReactor& control, ReactorOptions options, const Log& log, std::uint32_t count_max);
  ~ReactorPool();
  ReactorPool(const ReactorPool&) = delete;
  ReactorPool& operator=(const ReactorPool&) = delete;

  // Assignment of a client to a reactor, which counts it until the destructor. The reactor outlives it.
  class Assignment {
   public:
    explicit Assignment(DataReactor& chosen) : reactor_(&chosen) { ++chosen.client_count; }
    Assignment(Assignment&& other) noexcept : reactor_(std::exchange(other.reactor_, nullptr)) {}
    Assignment& operator=(Assignment&&) = delete;
    ~Assignment() {
      if (reactor_ != nullptr) --reactor_->client_count;
    }
    DataReactor& data_reactor() const { return *reactor_; }

   private:
    DataReactor* reactor_;
  };
  // Assigns a client to the reactor with the fewest clients. When all have clients and `count_max` allows it, starts
  // one more thread; when that fails, uses the existing ones.
  Assignment assign();
  // Assigns a client to the first one with the fewest clients among `reactors`, which are not the pool's. `reactors` is
  // not empty.
  static Assignment assign_among(std::span<DataReactor* const> reactors);

  // Calls show(name, data_reactor) for each running reactor, the control reactor first.
  template <class Show>
  void for_each(Show show) {
    for (Member& one : members_) show(one.thread != nullptr ? one.thread->name() : "main", *one.reactor);
  }

 private:
  struct Member {
    DataReactor* reactor;
    std::unique_ptr<ReactorThread> thread;  // null for the control reactor
  };
  DataReactor& least_loaded();
  void start_one();

  ReactorOptions options_;
  const Log& log_;
  std::uint32_t count_max_;
  std::deque<Member> members_;
};

}  // namespace blockexport::aio
