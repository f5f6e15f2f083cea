#include "block/change_listener.h"

#include "base/error.h"

namespace blockexport::block {

aio::Task<IoResult> ChangeListener::before_change(Change) {
  co_return IoResult();
}

IoResult ChangeListeners::try_before_change(aio::Reactor& reactor, const Change& change) const {
  for (ChangeListener* listener : listeners_) TRY(listener->try_before_change(reactor, change));
  return {};
}

aio::Task<IoResult> ChangeListeners::before_change(Change change) const {
  for (ChangeListener* listener : listeners_) CO_TRY(co_await listener->before_change(change));
  co_return IoResult();
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
