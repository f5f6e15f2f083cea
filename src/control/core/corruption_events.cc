#include "control/core/corruption_events.h"

#include <optional>
#include <utility>

#include "schema/block_core.h"

namespace blockexport::control {
namespace {

schema::BlockImageCorruptedEvent event_of(const block::ImageCorruption& corruption) {
  std::optional<std::int64_t> offset;
  std::optional<std::int64_t> size;
  if (corruption.place) {
    offset = static_cast<std::int64_t>(corruption.place->offset);
    size = static_cast<std::int64_t>(corruption.place->length);
  }
  // QSD has no names of devices, so that the first member is empty.
  return {{}, corruption.node_name, corruption.message, offset, size, corruption.is_fatal};
}

}  // namespace

void CorruptionEvents::open(aio::Reactor& reactor, qmp::EventQueue& events) {
  const std::lock_guard lock(mutex_);
  reactor_ = &reactor;
  target_ = std::make_shared<Target>(Target{.events = &events});
}

void CorruptionEvents::close() {
  const std::lock_guard lock(mutex_);
  reactor_ = nullptr;
  if (target_ != nullptr) target_->events = nullptr;
  target_.reset();
}

void CorruptionEvents::image_corrupted(block::ImageCorruption corruption) {
  const std::lock_guard lock(mutex_);
  if (reactor_ == nullptr) return;
  reactor_->post([target = target_, corruption = std::move(corruption)]() {
    if (target->events == nullptr) return;
    target->events->emit(schema::block_image_corrupted_event(event_of(corruption)));
  });
}

}  // namespace blockexport::control
