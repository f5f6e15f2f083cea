#include "aio/posix/execute.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "aio/posix/file_map.h"
#include "aio/posix/file_system.h"
#include "aio/posix/retry.h"
#include "aio/posix/transfer_flags.h"

namespace blockexport::aio::posix {
namespace {

off_t as_offset(std::uint64_t offset) {
  return static_cast<off_t>(offset);
}

// Limited to what one call accepts; the transfer is then short, as any transfer may be.
int count_of(std::span<const iovec> vectors) {
  return static_cast<int>(std::min<std::size_t>(vectors.size(), IOV_MAX));
}

std::int64_t device_range(int fd, unsigned long request, const Operation& operation) {
  std::uint64_t range[2] = {operation.offset, operation.length};
  return retry([&] { return ioctl(fd, request, range); });
}

struct flock byte_lock(const Operation& operation) {
  struct flock lock{};
  lock.l_type = static_cast<short>(operation.mode);
  lock.l_whence = SEEK_SET;
  lock.l_start = as_offset(operation.offset);
  lock.l_len = 1;
  return lock;
}

std::int64_t test_lock(const Operation& operation) {
  struct flock lock = byte_lock(operation);
  std::int64_t result = retry([&] { return fcntl(operation.fd, F_OFD_GETLK, &lock); });
  if (result < 0) return result;
  return lock.l_type == F_UNLCK ? 0 : 1;
}

std::int64_t perform(Operation& o, const SystemCalls& calls) {
  switch (o.kind) {
    case OperationKind::kRead:
      return retry([&] {
        return calls.preadv2(o.fd, o.vectors.data(), count_of(o.vectors), as_offset(o.offset), transfer_flags(o));
      });
    case OperationKind::kWrite:
      return retry([&] {
        return calls.pwritev2(o.fd, o.vectors.data(), count_of(o.vectors), as_offset(o.offset), transfer_flags(o));
      });
    case OperationKind::kSync:
      return retry([&] { return calls.fdatasync(o.fd); });
    case OperationKind::kAllocate:
      return retry([&] { return calls.fallocate(o.fd, o.mode, as_offset(o.offset), as_offset(o.length)); });
    case OperationKind::kTruncate:
      return retry([&] { return calls.ftruncate(o.fd, as_offset(o.length)); });
    case OperationKind::kMap:
      return map_file(o.fd, o.offset, o.length, *o.map);
    case OperationKind::kPrefetch:
      return -posix_fadvise(o.fd, as_offset(o.offset), as_offset(o.length), POSIX_FADV_WILLNEED);
    case OperationKind::kDiscard:
      return device_range(o.fd, BLKDISCARD, o);
    case OperationKind::kZeroOut:
      return device_range(o.fd, BLKZEROOUT, o);
    case OperationKind::kOpen:
      // Abandonable: see abandonable_call.h.
      return -EINVAL;
    case OperationKind::kStat:
      o.info->in_memory = lives_in_memory(o.fd);
      o.info->drops_direct_syncs = drops_direct_syncs(o.fd);
      return stat_file(o.fd, *o.info);
    case OperationKind::kLock: {
      struct flock lock = byte_lock(o);
      return retry([&] { return fcntl(o.fd, F_OFD_SETLK, &lock); });
    }
    case OperationKind::kTestLock:
      return test_lock(o);
    case OperationKind::kCall:
      return o.function(o.argument);
    case OperationKind::kClose:
      return ::close(o.fd) == 0 ? 0 : -errno;
    case OperationKind::kPoll:
      break;
  }
  return -EINVAL;
}

}  // namespace

void execute(Operation& operation, const SystemCalls& calls) {
  operation.result = perform(operation, calls);
}

}  // namespace blockexport::aio::posix
