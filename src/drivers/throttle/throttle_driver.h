// ThrottleDriver: a filter whose reads, writes, zeroes and discards wait until the limits of its group let them go.
//
// Owned by its Node. A flush and a query of extents never wait. While the group limits nothing, each verb costs a load
// more than the child's; otherwise the inline verbs answer EAGAIN. Thread: verbs on any reactor.
#pragma once

#include <memory>
#include <string>

#include "block/held_requests.h"
#include "drivers/filter/filter_driver.h"
#include "drivers/throttle/throttle_group.h"

namespace blockexport::drivers {

class ThrottleDriver final : public FilterDriver, block::HeldRequests {
 public:
  // `groups` outlives the driver, and may be null: then there are no groups. Errors: no group of that id.
  static Result<std::unique_ptr<ThrottleDriver>> open(ThrottleDirectory* groups, const std::string& group_id,
                                                      std::unique_ptr<block::Edge> file);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::InlineHints& hints) override;
  std::expected<block::FileSpan, Errno> try_share(aio::Reactor& reactor, block::Range range) override;

  std::string_view format_name() const override { return "throttle"; }
  block::HeldRequests* held_requests() override { return this; }
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;
  aio::Task<void> commit_reopen() override;
  aio::Task<void> abort_reopen() override;

 private:
  using Direction = ThrottleDirection;

  ThrottleDriver(ThrottleDirectory* groups, std::unique_ptr<ThrottleMember> member, std::unique_ptr<block::Edge> file)
      : FilterDriver(std::move(file)), groups_(groups), member_(std::move(member)) {}
  static Result<std::unique_ptr<ThrottleMember>> join(ThrottleDirectory* groups, const std::string& group_id);

  void begin_drain() override;
  void end_drain() override;
  aio::Task<IoResult> wait_and_read(block::Range range, block::IoBuffers buffers);
  aio::Task<IoResult> wait_and_write(block::Range range, block::IoBuffers buffers, block::WriteOptions options);
  aio::Task<IoResult> wait_and_write_zeroes(block::Range range, block::ZeroOptions options);
  aio::Task<IoResult> wait_and_discard(block::Range range);
  aio::Task<IoResult> wait_and_prefetch(block::Range range);

  ThrottleDirectory* groups_;
  std::unique_ptr<ThrottleMember> member_;
  std::unique_ptr<ThrottleMember> next_member_;  // between prepare_reopen and commit_reopen
  std::uint32_t drains_ = 0;
};

}  // namespace blockexport::drivers
