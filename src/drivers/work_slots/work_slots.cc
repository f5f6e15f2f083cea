#include "drivers/work_slots/work_slots.h"

#include "base/error.h"

namespace blockexport::drivers {

aio::Task<IoResult> WorkSlots::take() {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (free_ > 0) {
        free_--;
        taken_.fetch_add(1, std::memory_order_relaxed);
        co_return IoResult();
      }
      released_.reset();
    }
    CO_TRY(co_await released_.wait());
  }
}

void WorkSlots::release() {
  const std::lock_guard lock(mutex_);
  taken_.fetch_sub(1, std::memory_order_relaxed);
  if (free_++ == 0) released_.set();
}

}  // namespace blockexport::drivers
