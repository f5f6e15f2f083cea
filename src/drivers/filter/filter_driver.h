// FilterDriver: base of the drivers that show the bytes of one child, at the same offsets, and do more with some verbs.
//
// Owns the edge to its child "file". Every verb goes to the child as it is, and returns the child's own task; a filter
// overrides those in which it has a part, and then also the inline verbs of the same kind. Thread: verbs on any
// reactor. A base class has no state besides the edge.
#pragma once

#include <memory>

#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"

namespace blockexport::drivers {

class FilterDriver : public block::LiveDriver {
 public:
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

  std::uint64_t size_bytes() const override { return file().size_bytes(); }
  block::Limits limits() const override;
  bool can_compress() const override { return file().driver().can_compress(); }
  bool can_grow() const override { return file().driver().can_grow(); }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override { return file().grow(size_bytes); }

  std::vector<block::Edge*> children() const override { return {file_.get()}; }
  aio::Task<Result<block::ImageIdentity>> identify() override { return file().driver().identify(); }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override { return file().resize(size_bytes); }

 protected:
  explicit FilterDriver(std::unique_ptr<block::Edge> file) : file_(std::move(file)) {}

  block::Node& file() const { return file_->node(); }
  block::Edge& file_edge() const { return *file_; }

 private:
  std::unique_ptr<block::Edge> file_;
};

}  // namespace blockexport::drivers
