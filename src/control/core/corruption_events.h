// CorruptionEvents: emits BLOCK_IMAGE_CORRUPTED for the corruption that drivers of images find.
//
// Owned by the daemon, which makes it before the drivers, and gives it the control plane's event queue afterwards.
// Thread: image_corrupted() on any; everything else on the control reactor.
#pragma once

#include <memory>
#include <mutex>

#include "aio/reactor/reactor.h"
#include "block/image_corruption.h"
#include "qmp/event_queue.h"

namespace blockexport::control {

class CorruptionEvents final : public block::CorruptionObserver {
 public:
  // Events go to `events`, on `reactor`, until close(). Both outlive that call.
  void open(aio::Reactor& reactor, qmp::EventQueue& events);
  void close();

  void image_corrupted(block::ImageCorruption corruption) override;

 private:
  // The receiver of events. Posted work has it too, and may run after close().
  struct Target {
    qmp::EventQueue* events = nullptr;
  };
  std::mutex mutex_;  // guards the pointers
  aio::Reactor* reactor_ = nullptr;
  std::shared_ptr<Target> target_;
};

}  // namespace blockexport::control
