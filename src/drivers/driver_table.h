// BuiltInDrivers: opens each driver that this program has, from the options of the schema.
//
// Made by the daemon, which gives it to the Graph. Thread: the control reactor.
#pragma once

#include "block/driver_table.h"
#include "block/point_in_time.h"

namespace blockexport {
class Log;
}

namespace blockexport::drivers {

class BuiltInDrivers final : public block::DriverTable {
 public:
  // Both may be null and outlive the drivers. `observer` learns of points in time that they give up; `log` gets lines
  // about corrupt images.
  explicit BuiltInDrivers(block::PointInTimeObserver* observer = nullptr, const Log* log = nullptr)
      : observer_(observer), log_(log) {}

  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions& node_options,
                                                         block::ChildOpener& children) override;

 private:
  block::PointInTimeObserver* observer_;
  const Log* log_;
};

}  // namespace blockexport::drivers
