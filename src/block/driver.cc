#include "block/driver.h"

namespace blockexport::block {

aio::Task<std::optional<std::uint64_t>> Driver::allocated_bytes() { co_return std::nullopt; }

// A driver that only forwards passes on what its own users need and share.
Permissions Driver::child_permissions(const Edge&, const Permissions& own, bool) const { return own; }

aio::Task<Result<>> Driver::set_permissions(Permissions) { co_return Result<>(); }

aio::Task<Result<>> Driver::resize(std::uint64_t) {
  co_return fail(Error::system("Image format driver does not support resize", Errno(ENOTSUP)));
}

}  // namespace blockexport::block
