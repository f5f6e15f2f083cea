// Steps and aftermath of snapshots, for their commands and for the actions of a transaction.
//
// Plain values; thread: the control reactor.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "block/graph_step.h"
#include "control/commands/overlay_image.h"
#include "control/core/control.h"

namespace blockexport::control {

// The snapshots of one change of the graph, beside its steps. It outlives the change.
class Snapshots {
 public:
  explicit Snapshots(Control& control) : control_(control) {}
  Snapshots(const Snapshots&) = delete;
  Snapshots& operator=(const Snapshots&) = delete;

  // Each returns a step of the change.
  block::GraphStep take(schema::BlockdevSnapshot arguments);
  block::GraphStep take(schema::BlockdevSnapshotSync arguments);

  // To be called when the change has succeeded.
  aio::Task<void> settle();

 private:
  struct Taken {
    std::string node;
    std::string overlay;
  };

  Control& control_;
  std::vector<Taken> taken_;
  std::list<OverlayImage> images_;
};

// The step of a snapshot inside an image, which has no aftermath.
block::GraphStep internal_step(schema::BlockdevSnapshotInternal arguments);

}  // namespace blockexport::control
