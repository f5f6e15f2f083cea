// RawDriver: shows the bytes of its child node, or a part of them.
//
// Owned by its Node; owns the edge to its child. Has no state: verbs run on any reactor, and return the child's own
// tasks.
#pragma once

#include <memory>
#include <optional>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "drivers/raw/raw_options.h"

namespace blockexport::drivers {

class RawDriver final : public block::LiveDriver {
 public:
  // Fails when the part does not lie within the child.
  static Result<std::unique_ptr<RawDriver>> open(RawOptions options, std::unique_ptr<block::Edge> file);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<std::expected<block::DataPlace, Errno>> locate(block::Range range) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::InlineHints& hints) override;
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;
  aio::Task<IoResult> read_shared(block::Range range, block::IoBuffers buffers) override;

  std::uint64_t size_bytes() const override;
  block::Limits limits() const override;
  bool can_grow() const override { return !options_.size_bytes && file().driver().can_grow(); }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override;

  std::string_view format_name() const override { return "raw"; }
  std::vector<block::Edge*> children() const override { return {file_.get()}; }
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  aio::Task<Result<block::ImageIdentity>> identify() override;
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override;
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;
  aio::Task<void> commit_reopen() override;

  const RawOptions& options() const { return options_; }

 private:
  RawDriver(RawOptions options, std::unique_ptr<block::Edge> file) : options_(options), file_(std::move(file)) {}
  static Result<> check(const RawOptions& options, std::uint64_t file_bytes);
  block::Node& file() const { return file_->node(); }
  // True when the node shows the whole child; then others may resize it.
  static bool is_whole(const RawOptions& options) { return options.offset == 0 && !options.size_bytes; }
  static block::ChildRoles roles_of(const RawOptions& options);
  block::Range in_file(block::Range range) const { return {range.offset + options_.offset, range.length}; }

  RawOptions options_;
  RawOptions next_options_;  // set between prepare_reopen and commit_reopen
  std::unique_ptr<block::Edge> file_;
};

}  // namespace blockexport::drivers
