#include "block/driver.h"

#include <fmt/format.h>

#include "block/reopen_children.h"

namespace blockexport::block {

aio::Task<IoResult> Driver::grow(std::uint64_t) {
  co_return fail(ENOSPC);
}

aio::Task<Result<ImageIdentity>> Driver::identify() {
  co_return fail(Error(fmt::format("Block driver '{}' cannot recognise its image later", format_name()))
                     .with_hint("A bitmap store needs an image that stays, as file, host_device, or raw above them."));
}

aio::Task<void> Driver::quiesce() {
  co_return;
}

// By default a driver needs and shares the same as its own users, as one that only forwards.
Permissions Driver::child_permissions(const Edge&, const Permissions& own, bool) const {
  return own;
}

aio::Task<Result<>> Driver::set_permissions(Permissions) {
  co_return Result<>();
}

aio::Task<IoResult> Driver::change_backing_name(std::string, std::string_view) {
  co_return fail(ENOTSUP);
}

aio::Task<Result<>> Driver::resize(std::uint64_t) {
  co_return fail("Image format driver does not support resize");
}

aio::Task<Result<>> Driver::prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions&, NodeOptions&,
                                           ReopenChildren& children) {
  co_return fail(fmt::format("Block format '{}' used by node '{}' does not support reopening files", format_name(),
                             children.node_name()));
}

aio::Task<void> Driver::commit_reopen() {
  co_return;
}

aio::Task<void> Driver::abort_reopen() {
  co_return;
}

aio::Task<std::expected<DataPlace, Errno>> Driver::locate(Range) {
  co_return fail(ENOTSUP);
}

}  // namespace blockexport::block
