// FileLocks: tells other processes, by locks on single bytes of the image file, what we do with it.
//
// For every permission there are two bytes: one is locked (shared) by who uses the permission, the other by who does
// not let others have it. To use a permission one checks that nobody holds the second byte, and to forbid it that
// nobody holds the first. Virtual machines and storage daemons keep to the same bytes, which is what keeps two of them
// from writing one image. Locks are OFD locks: they belong to the open file, not to the process. Thread: the control
// reactor.
#pragma once

#include <memory>
#include <string>

#include "aio/open_file.h"
#include "aio/task.h"
#include "base/error.h"
#include "block/permissions.h"

namespace blockexport::drivers {

class FileLocks {
 public:
  // The locks go when `file` is closed, of which this keeps a share.
  FileLocks(std::shared_ptr<const aio::OpenFile> file, std::string filename)
      : file_(std::move(file)), filename_(std::move(filename)) {}

  // Whether the file system has such locks at all. Errors: it did not tell.
  static aio::Task<std::expected<bool, Errno>> supported(aio::Reactor& reactor, int fd);

  // From what is held now to `wanted`. New bytes are locked first, then checked, then old ones given up; on failure all
  // is as it was. Only to give up cannot fail.
  aio::Task<Result<>> change(aio::Reactor& reactor, block::Permissions wanted);

  // Locks the same bytes in another open file description of this file, goes on with that, and gives up those of the
  // one before, which may stay open. What is held in one place may be held in the other; where the system refuses it
  // all the same, the one before is kept open with its locks, so that the file is never without.
  aio::Task<void> move_to(aio::Reactor& reactor, std::shared_ptr<const aio::OpenFile> file);

 private:
  aio::Task<Result<>> lock_and_check(aio::Reactor& reactor, block::Permissions wanted);
  aio::Task<Result<>> lock_all(aio::Reactor& reactor, block::Permissions wanted);
  aio::Task<Result<>> check_all(aio::Reactor& reactor, block::Permissions wanted) const;
  aio::Task<void> unlock_all_but(aio::Reactor& reactor, block::Permissions wanted);
  // One byte of each permission in `bits`.
  static aio::Task<IoResult> set_bytes(aio::Reactor& reactor, int fd, std::uint64_t base, block::PermissionSet bits,
                                       int mode);

  int fd() const { return file_->fd(); }

  std::shared_ptr<const aio::OpenFile> file_;
  std::string filename_;
  block::PermissionSet used_;      // the bytes locked at kUsedBase
  block::PermissionSet unshared_;  // and at kUnsharedBase
};

}  // namespace blockexport::drivers
