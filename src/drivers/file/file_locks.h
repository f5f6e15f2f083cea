// FileLocks: locks on single bytes of the image file, which tell other processes how we use it.
//
// Every permission has two bytes: a process that uses the permission locks (shared) the first, and a process that does
// not share it locks the second. A process that wants to use a permission checks that nobody holds the second byte; one
// that wants to forbid it checks that nobody holds the first. Virtual machines and storage daemons use the same bytes,
// so no two of them write one image. The locks are OFD locks: they belong to the open file description, not to the
// process. Thread: the control reactor.
#pragma once

#include <memory>
#include <string>

#include "aio/file/open_file.h"
#include "aio/task/task.h"
#include "base/error.h"
#include "block/permissions.h"

namespace blockexport::drivers {

class FileLocks {
 public:
  // Keeps a reference to `file`. The locks end when the last reference closes the file.
  FileLocks(std::shared_ptr<const aio::OpenFile> file, std::string filename)
      : file_(std::move(file)), filename_(std::move(filename)) {}

  // True if the file system supports OFD locks. Fails when the system does not say.
  static aio::Task<std::expected<bool, Errno>> supported(aio::Reactor& reactor, int fd);

  // Changes the locks from the current permissions to `wanted`: locks the new bytes, checks for conflicts, then
  // releases the old bytes. A failure restores the former locks. A change that only releases locks cannot fail.
  aio::Task<Result<>> change(aio::Reactor& reactor, block::Permissions wanted);

  // Locks the same bytes in another open file description of this file, uses that one from now on, and releases the
  // locks of the old description, which may stay open. Both descriptions may hold the shared locks at once. Where the
  // system refuses that, the old description stays open with its locks, so that the file is never unlocked.
  aio::Task<void> move_to(aio::Reactor& reactor, std::shared_ptr<const aio::OpenFile> file);

 private:
  aio::Task<Result<>> lock_and_check(aio::Reactor& reactor, block::Permissions wanted);
  aio::Task<Result<>> lock_all(aio::Reactor& reactor, block::Permissions wanted);
  aio::Task<Result<>> check_all(aio::Reactor& reactor, block::Permissions wanted) const;
  aio::Task<void> unlock_all_but(aio::Reactor& reactor, block::Permissions wanted);
  // The bytes of the permissions in `bits`, one for each.
  static aio::Task<IoResult> set_bytes(aio::Reactor& reactor, int fd, std::uint64_t base, block::PermissionSet bits,
                                       int mode);

  int fd() const { return file_->fd(); }

  std::shared_ptr<const aio::OpenFile> file_;
  std::string filename_;
  block::PermissionSet used_;      // locked bytes at kUsedBase
  block::PermissionSet unshared_;  // locked bytes at kUnsharedBase
};

}  // namespace blockexport::drivers
