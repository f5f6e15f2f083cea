// BuiltInDrivers: opens each driver that this program has, from the options of the schema.
//
// Made by the daemon, which gives it to the Graph. Thread: the control reactor.
#pragma once

#include "block/driver_table.h"
#include "block/image_corruption.h"
#include "block/point_in_time.h"
#include "block/quorum_observer.h"
#include "drivers/file/file_options.h"
#include "drivers/reference_policy.h"
#include "drivers/secret_source.h"
#include "drivers/throttle/throttle_group.h"
#include "schema/block_core.h"

namespace blockexport {
class Log;
}

namespace blockexport::drivers {

class BuiltInDrivers final : public block::DriverTable {
 public:
  // `observer` learns of points in time that drivers give up, `log` gets lines about images that are corrupt or whose
  // format was guessed. Both may be null, and outlive the drivers.
  explicit BuiltInDrivers(block::PointInTimeObserver* observer = nullptr, const Log* log = nullptr)
      : observer_(observer), log_(log) {}

  // Names inside images are opened by this rule. Called before the first driver is opened; the default allows all.
  void set_reference_policy(ReferencePolicy policy) { references_ = std::move(policy); }

  // Learns of corrupt images from now on; outlives the drivers.
  void set_corruption_observer(block::CorruptionObserver& observer) { corruption_observer_ = &observer; }

  // Learns of bad children of quorum nodes that are opened from now on; outlives the drivers.
  void set_quorum_observer(block::QuorumObserver& observer) { quorum_observer_ = &observer; }
  // Throttle nodes opened from now on find their groups there; it outlives them.
  void set_throttle_groups(ThrottleDirectory& groups) { throttle_groups_ = &groups; }
  // Has the passphrases of encrypted images; outlives the drivers. Without it there are none.
  void set_secrets(SecretSource& secrets) { secrets_ = &secrets; }

  aio::Task<Result<std::unique_ptr<block::Driver>>> open(const schema::BlockdevOptions& options,
                                                         const block::NodeOptions& node_options,
                                                         block::ChildOpener& children) override;
  aio::Task<Result<schema::BlockdevOptions>> resolve(block::ImageReference reference, std::string image_path) override;

 private:
  aio::Task<Result<std::unique_ptr<block::Driver>>> open_file(const schema::BlockdevOptionsFile& options,
                                                              const block::NodeOptions& node_options,
                                                              block::ChildOpener& children, FileType type) const;

  block::PointInTimeObserver* observer_;
  const Log* log_;
  block::CorruptionObserver* corruption_observer_ = nullptr;
  block::QuorumObserver* quorum_observer_ = nullptr;
  ThrottleDirectory* throttle_groups_ = nullptr;
  SecretSource* secrets_ = nullptr;
  ReferencePolicy references_ = ReferencePolicy::allow();
};

}  // namespace blockexport::drivers
