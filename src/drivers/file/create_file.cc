#include "drivers/file/create_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "aio/file/open_file.h"
#include "aio/reactor/reactor.h"
#include "aio/sync/shielded.h"
#include "aio/task/current.h"
#include "drivers/file/file_locks.h"

namespace blockexport::drivers {
namespace {

// Bytes that one call to the kernel allocates without writing them, or writes.
constexpr std::uint64_t kAllocatedPieceBytes = 256u << 20;
constexpr std::size_t kZeroBytes = 64u << 10;
constexpr std::size_t kZeroVectors = 16;
alignas(4096) constexpr std::array<std::byte, kZeroBytes> kZeros{};

// Storage of the first block is allocated even if nothing else is: the alignment of direct I/O can be probed there.
constexpr std::uint64_t kFirstBlockBytes = 4096;
constexpr std::uint64_t kSectorBytes = 512;

// Shared by the task and by the worker, which may go on after the task was cancelled.
struct Opening {
  enum class State : std::uint8_t { kRunning, kOpen, kAbandoned };

  std::string path;
  int fd = -1;  // written by the worker before kOpen
  std::atomic<State> state = State::kRunning;

  // Called through Reactor::call_abandonably.
  static std::int64_t run(void* argument) {
    auto& opening = *static_cast<Opening*>(argument);
    constexpr mode_t kReadableByAll = S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH;
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    opening.fd = open(opening.path.c_str(), flags, kReadableByAll);
    if (opening.fd < 0) return -errno;
    if (opening.state.exchange(State::kOpen) == State::kAbandoned) close(opening.fd);
    return 0;
  }
};

struct AttributeChange {
  int fd;
  bool no_copy_on_write;
  std::uint32_t extent_size_hint_bytes;

  // Called through Reactor::call. The file system need not support either attribute.
  static std::int64_t run(void* argument) {
    const auto& change = *static_cast<AttributeChange*>(argument);
    if (change.no_copy_on_write) {
      int flags = 0;
      if (ioctl(change.fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        (void)ioctl(change.fd, FS_IOC_SETFLAGS, &flags);
      }
    }
    if (change.extent_size_hint_bytes > 0) {
      fsxattr attributes{};
      if (ioctl(change.fd, FS_IOC_FSGETXATTR, &attributes) == 0) {
        attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
        attributes.fsx_extsize = change.extent_size_hint_bytes;
        (void)ioctl(change.fd, FS_IOC_FSSETXATTR, &attributes);
      }
    }
    return 0;
  }
};

aio::Task<std::expected<int, Errno>> open_or_create(aio::Reactor& reactor, std::string path) {
  const auto opening = std::make_shared<Opening>(std::move(path));
  const std::shared_ptr<void> shared = opening;
  const auto opened = co_await reactor.call_abandonably(Opening::run, shared);
  if (opened) co_return opening->fd;
  if (opened.error() == Errno(ECANCELED) &&
      opening->state.exchange(Opening::State::kAbandoned) == Opening::State::kOpen) {
    reactor.close_file(opening->fd);
  }
  co_return fail(opened.error());
}

aio::Task<Result<>> allocate_space(aio::Reactor& reactor, int fd, std::uint64_t size_bytes, block::LongWork& work) {
  for (std::uint64_t done = 0; done < size_bytes;) {
    const std::uint64_t step = std::min(size_bytes - done, kAllocatedPieceBytes);
    IoResult result = co_await work.pause_point();
    if (result) result = co_await reactor.allocate(fd, 0, done, step);
    if (!result) co_return fail(Error::system("Could not preallocate new data", result.error()));
    done += step;
    work.advance(step);
  }
  co_return Result<>();
}

aio::Task<Result<>> write_zeros(aio::Reactor& reactor, int fd, std::uint64_t size_bytes, block::LongWork& work) {
  std::array<iovec, kZeroVectors> vectors;
  vectors.fill(iovec{const_cast<std::byte*>(kZeros.data()), kZeroBytes});
  for (std::uint64_t done = 0; done < size_bytes;) {
    const std::uint64_t step = std::min<std::uint64_t>(size_bytes - done, kZeroBytes * kZeroVectors);
    const std::size_t count = (step + kZeroBytes - 1) / kZeroBytes;
    vectors[count - 1].iov_len = step - ((count - 1) * kZeroBytes);
    IoResult result = co_await work.pause_point();
    IoCount written = 0;
    if (result) {
      written = co_await reactor.write(fd, std::span(vectors).first(count), done, false);
      if (!written) result = fail(written.error());
      if (written && *written == 0) result = fail(ENOSPC);
    }
    if (!result) co_return fail(Error::system("Could not write zeros for preallocation", result.error()));
    vectors[count - 1].iov_len = kZeroBytes;
    done += *written;
    work.advance(*written);
  }
  const IoResult synced = co_await reactor.sync(fd);
  if (!synced) co_return fail(Error::system("Could not flush file to disk", synced.error()));
  co_return Result<>();
}

aio::Task<Result<>> set_size(aio::Reactor& reactor, int fd, std::uint64_t size_bytes) {
  const IoResult result = size_bytes <= INT64_MAX ? IoResult(co_await reactor.truncate(fd, size_bytes)) : fail(EINVAL);
  if (!result) co_return fail(Error::system("Could not resize file", result.error()));
  co_return Result<>();
}

aio::Task<void> write_first_block(aio::Reactor& reactor, int fd, std::uint64_t size_bytes) {
  const std::uint64_t length = size_bytes >= kFirstBlockBytes ? kFirstBlockBytes : kSectorBytes;
  if (size_bytes < length) co_return;
  const iovec vector{const_cast<std::byte*>(kZeros.data()), length};
  // Without the block the file is right all the same.
  (void)co_await reactor.write(fd, std::span(&vector, 1), 0, false);
}

aio::Task<Result<>> fill(aio::Reactor& reactor, int fd, const FileCreation& creation, block::LongWork& work) {
  const std::uint64_t size_bytes = creation.size_bytes;
  CO_TRY(co_await set_size(reactor, fd, 0));
  AttributeChange change{.fd = fd,
                         .no_copy_on_write = creation.no_copy_on_write,
                         .extent_size_hint_bytes = static_cast<std::uint32_t>(creation.extent_size_hint_bytes)};
  if (auto changed = co_await reactor.call(AttributeChange::run, &change); !changed) {
    co_return fail(Error::system("Could not set file attributes", changed.error()));
  }
  switch (creation.preallocation) {
    case schema::PreallocMode::kMetadata:
      co_return fail("Unsupported preallocation mode: metadata");
    case schema::PreallocMode::kOff:
      CO_TRY(co_await set_size(reactor, fd, size_bytes));
      co_await write_first_block(reactor, fd, size_bytes);
      break;
    case schema::PreallocMode::kFalloc:
      if (size_bytes > INT64_MAX) co_return co_await set_size(reactor, fd, size_bytes);
      work.expect(size_bytes);
      CO_TRY(co_await allocate_space(reactor, fd, size_bytes, work));
      break;
    case schema::PreallocMode::kFull:
      if (size_bytes > INT64_MAX) co_return co_await set_size(reactor, fd, size_bytes);
      work.expect(size_bytes);
      CO_TRY(co_await write_zeros(reactor, fd, size_bytes, work));
      break;
  }
  co_return Result<>();
}

// Lets other users have the file at once: its descriptor may be closed later.
aio::Task<void> leave(aio::Reactor& reactor, int fd, bool is_complete, FileLocks& locks) {
  if (!is_complete) (void)co_await reactor.truncate(fd, 0);
  (void)co_await locks.change(reactor, {});
}

}  // namespace

aio::Task<Result<>> create_file(FileCreation creation, block::LongWork& work) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  if (creation.extent_size_hint_bytes > UINT32_MAX) co_return fail("Extent size hint is too large");
  auto fd = co_await open_or_create(reactor, creation.filename);
  if (!fd) co_return fail(Error::system(fmt::format("Could not create '{}'", creation.filename), fd.error()));
  const auto file = std::make_shared<const aio::OpenFile>(reactor, *fd);
  FileLocks locks(file, creation.filename);
  auto has_locks = co_await FileLocks::supported(reactor, file->fd());
  if (!has_locks) {
    co_return fail(Error::system(fmt::format("Failed to lock '{}'", creation.filename), has_locks.error()));
  }
  if (*has_locks) {
    CO_TRY(co_await locks.change(reactor, {.used = block::Permission::kWrite | block::Permission::kResize,
                                           .shared = block::PermissionSet::all() - block::Permission::kResize}));
  }
  Result<> result = co_await fill(reactor, file->fd(), creation, work);
  aio::Task<void> leaving = leave(reactor, file->fd(), result.has_value(), locks);
  co_await aio::shielded("file creation", std::move(leaving));
  co_return result;
}

}  // namespace blockexport::drivers
