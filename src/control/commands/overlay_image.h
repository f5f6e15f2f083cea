// OverlayImage: the image of a new overlay: one that blockdev-snapshot-sync creates, or finds.
//
// Lives while the change of the graph runs. It creates images by the works of jobs in a graph of its own, because the
// change has locked the daemon's. Thread: the control reactor.
#pragma once

#include <string>

#include "aio/reactor/reactor.h"
#include "block/driver_table.h"
#include "block/overlay_source.h"
#include "schema/block_snapshot.h"

namespace blockexport {
class Trace;
}

namespace blockexport::control {

class OverlayImage final : public block::OverlaySource {
 public:
  // All references outlive it.
  OverlayImage(aio::Reactor& reactor, block::DriverTable& drivers, const Trace& trace,
               const schema::BlockdevSnapshotSync& arguments);

  aio::Task<Result<schema::BlockdevOptions>> make(block::OverlayBase base) override;

 private:
  Result<> check_format() const;
  Result<> check_creation(const schema::BlockdevOptions& options, const block::OverlayBase& base) const;
  aio::Task<Result<>> create(const schema::BlockdevOptions& options, const block::OverlayBase& base);

  aio::Reactor& reactor_;
  block::DriverTable& drivers_;
  const Trace& trace_;
  std::string filename_;
  std::string format_;
  bool creates_;
};

}  // namespace blockexport::control
