// PointInTimeLog: writes to the log that a node has given up its point in time, at the moment when that happens.
//
// Owned by the daemon; outlives the nodes. Each point in time causes at most one line. Thread: any.
#pragma once

#include "base/log.h"
#include "block/point_in_time.h"

namespace blockexport::control {

class PointInTimeLog final : public block::PointInTimeObserver {
 public:
  // The log outlives it.
  explicit PointInTimeLog(const Log& log) : log_(log) {}

  void point_in_time_given_up(std::string_view node_name, Errno cause) override;

 private:
  const Log& log_;
};

}  // namespace blockexport::control
