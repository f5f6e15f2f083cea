#include "block/change_listener.h"

#include "base/error.h"

namespace blockexport::block {

aio::Task<IoResult> ChangeListener::before_change(Change) {
  co_return IoResult();
}

IoResult ChangeListeners::try_before_change(aio::Reactor& reactor, const Change& change) const {
  for (std::size_t number = 0; number < listeners_.size(); number++) {
    IoResult result = listeners_[number]->try_before_change(reactor, change);
    if (result) continue;
    cancelled(change, number);
    return result;
  }
  return {};
}

aio::Task<IoResult> ChangeListeners::before_change(Change change) const {
  for (std::size_t number = 0; number < listeners_.size(); number++) {
    IoResult result = co_await listeners_[number]->before_change(change);
    if (result) continue;
    cancelled(change, number);
    co_return result;
  }
  co_return IoResult();
}

void ChangeListeners::cancelled(const Change& change, std::size_t count) const {
  for (std::size_t number = 0; number < count; number++) listeners_[number]->cancelled(change);
}

void ChangeListeners::changed(const Change& change) const {
  for (ChangeListener* listener : listeners_) listener->changed(change);
}

void ChangeListeners::resized(std::uint64_t before_bytes, std::uint64_t after_bytes) const {
  for (ChangeListener* listener : listeners_) listener->resized(before_bytes, after_bytes);
}

void ChangeListeners::grown(std::uint64_t before_bytes, std::uint64_t after_bytes) const {
  for (ChangeListener* listener : listeners_) listener->grown(before_bytes, after_bytes);
}

}  // namespace blockexport::block
