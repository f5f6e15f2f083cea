// SnapshotAccessDriver: shows the point in time that the node below keeps (block/point_in_time.h).
//
// Owned by its Node; owns the edge to its child "file". It cannot be written; a discard says that somebody has read
// enough of the bytes. It has no state, so verbs run on any reactor. It is no LiveDriver, so that nothing above it can
// answer a reader from a child that has moved on.
#pragma once

#include <memory>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "block/point_in_time.h"

namespace blockexport::drivers {

class SnapshotAccessDriver final : public block::Driver {
 public:
  // Fails when the node below keeps no point in time.
  static Result<std::unique_ptr<SnapshotAccessDriver>> open(std::unique_ptr<block::Edge> file);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  std::uint64_t size_bytes() const override;
  block::Limits limits() const override;
  bool owes_flush() const override { return false; }
  std::string_view format_name() const override { return "snapshot-access"; }
  std::vector<block::Edge*> children() const override { return {file_.get()}; }
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;

 private:
  explicit SnapshotAccessDriver(std::unique_ptr<block::Edge> file) : file_(std::move(file)) {}

  // Null when a change of the graph has put another node below.
  block::PointInTime* then() const { return file_->node().driver().point_in_time(); }

  std::unique_ptr<block::Edge> file_;
};

}  // namespace blockexport::drivers
