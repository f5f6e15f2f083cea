// BlkdebugDriver: a filter that shows the bytes of its child "image", and makes requests fail as rules say.
//
// Owned by its Node; owns the edge to its child, and the rules, which are all that verbs share. Verbs run on any
// reactor. Without rules it only forwards. With rules, drivers above it announce their events to it
// (block/debug_events.h), and no request is answered inline.
#pragma once

#include <memory>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "drivers/blkdebug/blkdebug_options.h"
#include "drivers/blkdebug/fault_rules.h"

namespace blockexport::drivers {

class BlkdebugDriver final : public block::LiveDriver {
 public:
  // Fails when the limits contradict each other.
  static Result<std::unique_ptr<BlkdebugDriver>> open(BlkdebugOptions options, std::unique_ptr<block::Edge> image);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  bool can_discard() const override { return image().driver().can_discard() || !rules_.empty(); }
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

  bool can_grow() const override { return image().driver().can_grow(); }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override { return image().grow(size_bytes); }
  std::uint64_t size_bytes() const override { return image().size_bytes(); }
  block::Limits limits() const override;

  std::string_view format_name() const override { return "blkdebug"; }
  std::vector<block::Edge*> children() const override { return {image_.get()}; }
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  aio::Task<Result<block::ImageIdentity>> identify() override { return image().driver().identify(); }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override { return image().resize(size_bytes); }
  // Nothing but the options of every node may change.
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;

 private:
  BlkdebugDriver(BlkdebugOptions options, std::unique_ptr<block::Edge> image);
  block::Node& image() const { return image_->node(); }
  // The part of an aligned range that the child has: its size need be no multiple of the alignment.
  block::Range in_image(block::Range range) const;
  bool is_whole(block::Range range) const { return in_image(range).length == range.length; }
  // Follows the rule that the request fits: waits, and returns its error. Success: the request goes on.
  aio::Task<IoResult> follow_rules(RequestKind kind, block::Range range);

  aio::Task<IoResult> read_checked(block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> write_checked(block::Range range, block::IoBuffers buffers, block::WriteOptions options);
  aio::Task<IoResult> write_zeroes_checked(block::Range range, block::ZeroOptions options);
  aio::Task<IoResult> discard_checked(block::Range range);
  aio::Task<IoResult> flush_checked();
  aio::Task<IoResult> extents_checked(block::Range range, block::Extents& extents);

  BlkdebugLimits limits_;
  block::PermissionSet take_;
  block::PermissionSet unshare_;
  FaultRules rules_;
  std::unique_ptr<block::Edge> image_;
};

}  // namespace blockexport::drivers
