#include "control/core/corruption_events.h"

#include <utility>

#include "schema/block_core.h"

namespace blockexport::control {
namespace {

schema::BlockImageCorruptedEvent arguments_of(block::ImageCorruption corruption) {
  schema::BlockImageCorruptedEvent arguments;
  arguments.msg = std::move(corruption.message);
  arguments.node_name = std::move(corruption.node_name);
  if (corruption.place) {
    arguments.offset = static_cast<std::int64_t>(corruption.place->offset);
    arguments.size = static_cast<std::int64_t>(corruption.place->length);
  }
  arguments.fatal = corruption.is_fatal;
  return arguments;
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
  reactor_->post([target = target_, corruption = std::move(corruption)]() mutable {
    if (target->events == nullptr) return;
    target->events->emit(schema::block_image_corrupted_event(arguments_of(std::move(corruption))));
  });
}

}  // namespace blockexport::control
