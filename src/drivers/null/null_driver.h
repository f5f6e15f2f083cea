// NullDriver: a device without storage, for measurements. It discards writes, and reads as zeros, after a configured
// latency.
//
// Owned by its Node. Has no state: verbs run on any reactor.
#pragma once

#include "block/driver.h"
#include "drivers/null/null_options.h"

namespace blockexport::drivers {

class NullDriver final : public block::LiveDriver {
 public:
  explicit NullDriver(NullOptions options);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  bool can_discard() const override { return false; }
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::InlineHints& hints) override;
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;

  std::uint64_t size_bytes() const override { return options_.size_bytes; }
  block::Limits limits() const override { return {}; }
  std::string_view format_name() const override { return options_.format_name; }
  std::string filename() const override;
  aio::Task<std::optional<std::uint64_t>> allocated_bytes() override;
  // A null node has no option that a reopen can change.
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;

  const NullOptions& options() const { return options_; }

 private:
  aio::Task<IoResult> take_time() const;
  aio::Task<IoResult> read_long(block::Range range, block::IoBuffers buffers) const;
  block::Extent extent_of(block::Range range) const;

  NullOptions options_;
};

}  // namespace blockexport::drivers
