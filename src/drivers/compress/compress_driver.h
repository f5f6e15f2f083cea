// CompressDriver: a filter that asks its child to compress what is written.
//
// Owned by its Node; owns the edge to its child "file". It has no state: verbs run on any reactor, and return the
// child's own tasks. Reads cost what they cost below.
#pragma once

#include <memory>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"

namespace blockexport::drivers {

class CompressDriver final : public block::LiveDriver {
 public:
  // Fails when the format of the child has no compressed form.
  static Result<std::unique_ptr<CompressDriver>> open(std::unique_ptr<block::Edge> file);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<std::expected<block::DataPlace, Errno>> locate(block::Range range) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  // There is no try_write(): compression is no work for an inline verb.
  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;
  aio::Task<IoResult> read_shared(block::Range range, block::IoBuffers buffers) override;

  std::uint64_t size_bytes() const override { return file().size_bytes(); }
  block::Limits limits() const override;
  bool can_grow() const override { return file().driver().can_grow(); }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override { return file().grow(size_bytes); }

  std::string_view format_name() const override { return "compress"; }
  std::vector<block::Edge*> children() const override { return {file_.get()}; }
  aio::Task<Result<block::ImageIdentity>> identify() override { return file().driver().identify(); }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override { return file().resize(size_bytes); }

 private:
  explicit CompressDriver(std::unique_ptr<block::Edge> file) : file_(std::move(file)) {}
  block::Node& file() const { return file_->node(); }

  std::unique_ptr<block::Edge> file_;
};

}  // namespace blockexport::drivers
