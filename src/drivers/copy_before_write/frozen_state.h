// FrozenState: the bytes that a node had at one moment, kept by copying each cluster elsewhere before its first change.
//
// Owned by a CopyBeforeWriteDriver. Verbs of any reactor use it at the same time. Two locks of ranges order them: a
// copy holds its clusters in `copies_` alone, so that each is copied once; whoever reads older bytes from the source
// shares them in `source_reads_`, which a copy holds alone for the moment at which its clusters become settled. So a
// settled cluster has no reader left that could see the change which follows, and readers never wait for a slow target.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "aio/task/task.h"
#include "block/edge.h"
#include "block/node.h"
#include "block/point_in_time.h"
#include "block/range_lock.h"
#include "block/request_gate.h"
#include "drivers/copy_before_write/copy_before_write_options.h"
#include "drivers/copy_before_write/frozen_clusters.h"

namespace blockexport::drivers {

class FrozenState final : public block::PointInTime {
 public:
  // Bytes that are copied at a time, and copies of one state that are under way at a time, so that both limit the
  // memory that they take.
  static constexpr std::uint64_t kCopyBytesMax = 1u << 20;
  static constexpr std::uint64_t kCopiesMax = 64;
  // Older bytes are read in pieces of this length, and extents are looked up in pieces of that length. Each of them
  // holds up the first changes of its clusters.
  static constexpr std::uint64_t kReadBytesMax = 1u << 20;
  static constexpr std::uint64_t kExtentsBytesMax = 1u << 30;
  // Requests whose copies took too long and still go on. While there are as many, the next one fails at once.
  static constexpr std::uint32_t kLateCopiesMax = 1024;

  // Both edges outlive it; `observer` may be null.
  FrozenState(std::unique_ptr<FrozenClusters> clusters, block::Edge& source, block::Edge& target,
              block::PointInTimeObserver* observer)
      : clusters_(std::move(clusters)), source_(source), target_(target), observer_(observer) {}

  // True if the bytes may change without a call of before_change().
  bool is_settled(block::Range range) const { return clusters_->is_settled(range); }
  // Makes the bytes ready to be changed; on an error they must not be changed.
  aio::Task<IoResult> before_change(block::Range range, const CopyBeforeWriteOptions& options);

  // Waits until no copy is under way that its request has left behind, and lets none begin before resume(). No request
  // is under way.
  aio::Task<void> quiesce() { return late_copies_.close(); }
  void resume() { late_copies_.open(); }

  std::uint64_t size_bytes_then() const override { return clusters_->size_bytes(); }
  aio::Task<IoResult> read_then(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> extents_then(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> drop_then(block::Range range) override;
  std::optional<Errno> given_up_because() const override { return clusters_->given_up_because(); }

 private:
  struct TimedCopy;

  block::Node& source() const { return source_.node(); }
  block::Node& target() const { return target_.node(); }

  // Copies what is not settled of the clusters around the range.
  aio::Task<IoResult> copy(block::Range range);
  aio::Task<IoResult> copy_run(block::Range run);
  // Copies bytes from the beginning of `rest`, and gives their number.
  aio::Task<std::expected<std::uint64_t, Errno>> copy_some(block::Range rest, std::uint64_t run_bytes);
  aio::Task<IoResult> copy_bytes(block::Range range);
  aio::Task<void> settle(block::Range clusters);

  // The same as copy(); ETIMEDOUT when it takes longer, and then it goes on.
  aio::Task<IoResult> copy_in_time(block::Range range, std::uint64_t timeout_ns);
  aio::Task<void> run_timed(TimedCopy& timed, block::Range range);

  aio::Task<IoResult> read_piece(block::Range range, block::IoBuffers buffers);

  std::unique_ptr<FrozenClusters> clusters_;
  block::Edge& source_;
  block::Edge& target_;
  block::PointInTimeObserver* observer_;
  block::RangeLock copies_;
  block::RangeLock source_reads_;
  block::RangeLock slots_;  // a byte for each copy that may be under way
  std::atomic<std::uint64_t> next_slot_ = 0;
  block::RequestGate late_copies_;  // timed copies are inside
  std::atomic<std::uint32_t> late_count_ = 0;
};

}  // namespace blockexport::drivers
