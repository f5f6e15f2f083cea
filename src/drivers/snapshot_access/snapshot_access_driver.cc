#include "drivers/snapshot_access/snapshot_access_driver.h"

#include <fmt/format.h>

namespace blockexport::drivers {
namespace {

aio::Task<IoResult> answer(IoResult result) {
  co_return result;
}

}  // namespace

using block::Range;

Result<std::unique_ptr<SnapshotAccessDriver>> SnapshotAccessDriver::open(std::unique_ptr<block::Edge> file) {
  block::Node& node = file->node();
  if (node.driver().point_in_time() == nullptr) {
    return fail(Error(fmt::format("Node '{}' keeps no point in time that snapshot-access could show", node.name()))
                    .with_hint("The child 'file' of snapshot-access is a copy-before-write node."));
  }
  return std::unique_ptr<SnapshotAccessDriver>(new SnapshotAccessDriver(std::move(file)));
}

aio::Task<IoResult> SnapshotAccessDriver::read(Range range, block::IoBuffers buffers) {
  block::PointInTime* state = then();
  return state != nullptr ? state->read_then(range, buffers) : answer(fail(EINVAL));
}

aio::Task<IoResult> SnapshotAccessDriver::write(Range, block::IoBuffers, block::WriteOptions) {
  return answer(fail(EPERM));
}

aio::Task<IoResult> SnapshotAccessDriver::write_zeroes(Range, block::ZeroOptions) {
  return answer(fail(EPERM));
}

aio::Task<IoResult> SnapshotAccessDriver::discard(Range range) {
  block::PointInTime* state = then();
  return state != nullptr ? state->drop_then(range) : answer(fail(EINVAL));
}

aio::Task<IoResult> SnapshotAccessDriver::flush() {
  return answer({});
}

aio::Task<IoResult> SnapshotAccessDriver::extents(Range range, block::Extents& extents) {
  block::PointInTime* state = then();
  return state != nullptr ? state->extents_then(range, extents) : answer(fail(EINVAL));
}

aio::Task<IoResult> SnapshotAccessDriver::prefetch(Range) {
  return answer({});
}

std::uint64_t SnapshotAccessDriver::size_bytes() const {
  const block::PointInTime* state = then();
  return state != nullptr ? state->size_bytes_then() : file_->node().size_bytes();
}

block::Limits SnapshotAccessDriver::limits() const {
  return {.optimal_bytes = file_->node().limits().optimal_bytes};
}

block::Permissions SnapshotAccessDriver::child_permissions(const block::Edge&, const block::Permissions&, bool) const {
  // It uses nothing that others see. That the child has a user makes it keep writers away from what is below.
  return {.used = {}, .shared = block::PermissionSet::all()};
}

}  // namespace blockexport::drivers
