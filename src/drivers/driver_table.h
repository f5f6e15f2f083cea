// BuiltInDrivers: opens each driver that this program has, from the options of the schema.
//
// Made by the daemon, which gives it to the Graph. Thread: the control reactor.
#pragma once

#include "block/driver_table.h"
#include "block/point_in_time.h"

namespace blockexport::drivers {

class BuiltInDrivers final : public block::DriverTable {
 public:
  // `observer`, which may be null and outlives the drivers, learns of points in time that they give up.
  explicit BuiltInDrivers(block::PointInTimeObserver* observer = nullptr) : observer_(observer) {}

  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions& node_options,
                                                         block::ChildOpener& children) override;

 private:
  block::PointInTimeObserver* observer_;
};

}  // namespace blockexport::drivers
