// BuiltInDrivers: opens each driver that this program has, from the options of the schema.
//
// Made by the daemon, which gives it to the Graph. Thread: the control reactor.
#pragma once

#include "block/driver_table.h"

namespace blockexport::drivers {

class BuiltInDrivers final : public block::DriverTable {
 public:
  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions& node_options,
                                                         block::ChildOpener& children) override;
};

}  // namespace blockexport::drivers
