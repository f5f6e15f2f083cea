// CopyBeforeWriteDriver: a filter that keeps the bytes of the moment at which it came in (FrozenState).
//
// Owned by its Node; owns the edges to its children "file", whose bytes it shows, and "target", which older bytes are
// copied to. Verbs run on any reactor. Reads go to the file as they are, and so do changes of clusters that are
// settled: these cost a look at a bit.
#pragma once

#include <memory>
#include <optional>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "drivers/copy_before_write/copy_before_write_options.h"
#include "drivers/copy_before_write/frozen_state.h"

namespace blockexport::drivers {

class CopyBeforeWriteDriver final : public block::LiveDriver {
 public:
  // `only`: the bytes that belong to the point in time, of a disk of the file's size; null: all of them. It is used in
  // the call alone. `observer` may be null. Fails without memory for the clusters.
  static Result<std::unique_ptr<CopyBeforeWriteDriver>> open(CopyBeforeWriteOptions options,
                                                             std::unique_ptr<block::Edge> file,
                                                             std::unique_ptr<block::Edge> target,
                                                             const block::DirtyBits* only,
                                                             block::PointInTimeObserver* observer = nullptr);

  block::PointInTime* point_in_time() override { return &state_; }

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::InlineHints& hints) override;
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;
  aio::Task<IoResult> read_shared(block::Range range, block::IoBuffers buffers) override;

  std::uint64_t size_bytes() const override { return file().size_bytes(); }
  block::Limits limits() const override;
  // The copies are worth nothing once the process has ended, so nobody waits until they are durable.
  bool owes_flush() const override { return file().owes_flush(); }
  aio::Task<void> quiesce() override;
  void resume() override;

  std::string_view format_name() const override { return "copy-before-write"; }
  std::vector<block::Edge*> children() const override { return {target_.get(), file_.get()}; }
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  // It shows the image of its file.
  aio::Task<Result<block::ImageIdentity>> identify() override { return file().driver().identify(); }
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;
  aio::Task<void> commit_reopen() override;

  const CopyBeforeWriteOptions& options() const { return options_; }

 private:
  CopyBeforeWriteDriver(CopyBeforeWriteOptions options, std::unique_ptr<block::Edge> file,
                        std::unique_ptr<block::Edge> target, std::unique_ptr<FrozenClusters> clusters,
                        block::PointInTimeObserver* observer);

  block::Node& file() const { return file_->node(); }
  block::Node& target() const { return target_->node(); }
  // True if something above may change the file through this filter, or read its older state.
  bool has_parents() const;

  aio::Task<IoResult> copy_and_write(block::Range range, block::IoBuffers buffers, block::WriteOptions options);
  aio::Task<IoResult> copy_and_write_zeroes(block::Range range, block::ZeroOptions options);
  aio::Task<IoResult> copy_and_discard(block::Range range);

  CopyBeforeWriteOptions options_;
  CopyBeforeWriteOptions next_options_;  // between prepare_reopen and commit_reopen
  std::unique_ptr<block::Edge> file_;
  std::unique_ptr<block::Edge> target_;
  // The nodes that have the newest bytes and the copies: a reopen may not change them. Compared only.
  const block::Node* source_;
  const block::Node* scratch_;
  bool is_quiesced_ = false;
  FrozenState state_;
};

}  // namespace blockexport::drivers
