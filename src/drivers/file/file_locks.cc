#include "drivers/file/file_locks.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <utility>

#include "aio/reactor/reactor.h"

namespace blockexport::drivers {
namespace {

using block::Permissions;
using block::PermissionSet;

// Byte offsets that all programs which lock images have agreed on.
constexpr std::uint64_t kUsedBase = 100;
constexpr std::uint64_t kUnsharedBase = 200;

std::uint64_t byte_of(std::uint64_t base, block::Permission permission) {
  return base + static_cast<std::uint64_t>(permission);
}

// The errors by which kernels and file systems say that they support no such locks. Any other error may be temporary:
// after it we must not run without locks beside another process that has them.
bool has_no_locks(Errno error) {
  return error == Errno(EINVAL) || error == Errno(ENOSYS) || error == Errno(EOPNOTSUPP) || error == Errno(ENOLCK);
}

Error conflict(std::string message, const std::string& filename) {
  return Error(std::move(message))
      .with_hint(fmt::format("Is another process using the image [{}]?", filename))
      .as_busy();
}

}  // namespace

aio::Task<std::expected<bool, Errno>> FileLocks::supported(aio::Reactor& reactor, int fd) {
  auto tested = co_await reactor.test_lock(fd, kUsedBase, F_WRLCK);
  if (!tested && !has_no_locks(tested.error())) co_return fail(tested.error());
  co_return tested.has_value();
}

aio::Task<Result<>> FileLocks::change(aio::Reactor& reactor, Permissions wanted) {
  Permissions before{.used = used_, .shared = PermissionSet::all() - unshared_};
  Result<> result;
  // Releasing locks needs no check: another process that is just testing for locks may hold a conflicting one for a
  // moment.
  if (!before.used.contains(wanted.used) || !wanted.shared.contains(before.shared)) {
    result = co_await lock_and_check(reactor, wanted);
  }
  co_await unlock_all_but(reactor, result ? wanted : before);
  co_return result;
}

aio::Task<Result<>> FileLocks::lock_and_check(aio::Reactor& reactor, Permissions wanted) {
  CO_TRY(co_await lock_all(reactor, wanted));
  co_return co_await check_all(reactor, wanted);
}

aio::Task<Result<>> FileLocks::lock_all(aio::Reactor& reactor, Permissions wanted) {
  PermissionSet unshared = PermissionSet::all() - wanted.shared;
  IoResult result = co_await set_bytes(reactor, fd(), kUsedBase, wanted.used - used_, F_RDLCK);
  used_ = used_ | wanted.used;
  if (result) {
    result = co_await set_bytes(reactor, fd(), kUnsharedBase, unshared - unshared_, F_RDLCK);
    unshared_ = unshared_ | unshared;
  }
  if (!result)
    co_return fail(conflict(fmt::format("Failed to lock '{}': {}", filename_, errno_text(result.error())), filename_));
  co_return Result<>();
}

aio::Task<Result<>> FileLocks::check_all(aio::Reactor& reactor, Permissions wanted) const {
  for (block::Permission permission : block::kAllPermissions) {
    if (!wanted.used.has(permission)) continue;
    auto taken = co_await reactor.test_lock(fd(), byte_of(kUnsharedBase, permission), F_WRLCK);
    if (taken && *taken == 0) continue;
    co_return fail(conflict(fmt::format("Failed to get \"{}\" lock", block::permission_text(permission)), filename_));
  }
  for (block::Permission permission : block::kAllPermissions) {
    if (wanted.shared.has(permission)) continue;
    auto taken = co_await reactor.test_lock(fd(), byte_of(kUsedBase, permission), F_WRLCK);
    if (taken && *taken == 0) continue;
    std::string_view text = block::permission_text(permission);
    co_return fail(conflict(fmt::format("Failed to get shared \"{}\" lock", text), filename_));
  }
  co_return Result<>();
}

aio::Task<void> FileLocks::unlock_all_but(aio::Reactor& reactor, Permissions wanted) {
  PermissionSet unshared = PermissionSet::all() - wanted.shared;
  // Releasing a lock fails only for an invalid descriptor.
  (void)co_await set_bytes(reactor, fd(), kUsedBase, used_ - wanted.used, F_UNLCK);
  (void)co_await set_bytes(reactor, fd(), kUnsharedBase, unshared_ - unshared, F_UNLCK);
  used_ = used_ & wanted.used;
  unshared_ = unshared_ & unshared;
}

aio::Task<void> FileLocks::move_to(aio::Reactor& reactor, std::shared_ptr<const aio::OpenFile> file) {
  IoResult locked = co_await set_bytes(reactor, file->fd(), kUsedBase, used_, F_RDLCK);
  if (locked) locked = co_await set_bytes(reactor, file->fd(), kUnsharedBase, unshared_, F_RDLCK);
  // Releases the locks of the description that is no longer needed: the old one, or the new one with the locks that it
  // already got.
  if (locked) file_.swap(file);
  (void)co_await set_bytes(reactor, file->fd(), kUsedBase, used_, F_UNLCK);
  (void)co_await set_bytes(reactor, file->fd(), kUnsharedBase, unshared_, F_UNLCK);
}

aio::Task<IoResult> FileLocks::set_bytes(aio::Reactor& reactor, int fd, std::uint64_t base, PermissionSet bits,
                                         int mode) {
  for (block::Permission permission : block::kAllPermissions) {
    if (!bits.has(permission)) continue;
    auto result = co_await reactor.lock(fd, byte_of(base, permission), mode);
    if (!result) co_return fail(result.error());
  }
  co_return IoResult();
}

}  // namespace blockexport::drivers
