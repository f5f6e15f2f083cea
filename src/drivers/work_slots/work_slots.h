// WorkSlots: limit of the number of pieces of work that go on at the same time, and so of their memory: clusters that
// are compressed or decompressed, sectors that are encrypted.
//
// Thread: tasks of any reactor; a task that finds no free slot waits for one.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "aio/sync/shared_event.h"
#include "aio/task/task.h"
#include "base/errno.h"

namespace blockexport::drivers {

class WorkSlots {
 public:
  explicit WorkSlots(std::uint64_t count) : free_(count) {}

  // Takes a slot, which then belongs to a Taken. Fails only if the wait is cancelled.
  aio::Task<IoResult> take();
  // Returns true if more than one slot is taken.
  bool are_several_taken() const { return taken_.load(std::memory_order_relaxed) > 1; }

  // A slot that was taken, until its end.
  class Taken {
   public:
    explicit Taken(WorkSlots& of) : of_(of) {}
    ~Taken() { of_.release(); }
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;

   private:
    WorkSlots& of_;
  };

 private:
  void release();

  std::atomic<std::uint64_t> taken_ = 0;
  std::mutex mutex_;  // guards free_
  std::uint64_t free_;
  aio::SharedEvent released_{aio::SharedEvent::State::kReset};
};

}  // namespace blockexport::drivers
