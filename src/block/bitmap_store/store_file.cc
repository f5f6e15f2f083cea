#include "block/bitmap_store/store_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

namespace blockexport::block {
namespace {

// The byte that a process locks for as long as it uses a store.
constexpr std::uint64_t kLockOffset = 0;

Error cannot_open(const std::string& path, Errno cause) {
  return Error::system(fmt::format("Could not open bitmap store '{}'", path), cause);
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Called through Reactor::call.
std::int64_t unlink_path(void* path) {
  return ::unlink(static_cast<const std::string*>(path)->c_str()) == 0 || errno == ENOENT ? 0 : -errno;
}

struct AskedBirth {
  int fd = -1;
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
};

// Called through Reactor::call. Not every file system keeps it.
std::int64_t ask_birth(void* argument) {
  auto& asked = *static_cast<AskedBirth*>(argument);
  struct statx status{};
  if (::statx(asked.fd, "", AT_EMPTY_PATH, STATX_BTIME, &status) != 0) return -errno;
  if ((status.stx_mask & STATX_BTIME) == 0) return -ENODATA;
  asked.seconds = status.stx_btime.tv_sec;
  asked.nanoseconds = status.stx_btime.tv_nsec;
  return 0;
}

}  // namespace

aio::Task<Result<std::unique_ptr<StoreFile>>> StoreFile::open(aio::Reactor& reactor, std::string path,
                                                              bool may_create) {
  std::unique_ptr<StoreFile> file(new StoreFile(reactor, std::move(path)));
  CO_TRY(co_await file->open_both(may_create));
  co_return file;
}

aio::Task<Result<>> StoreFile::open_both(bool may_create) {
  const int flags = O_RDWR | O_NONBLOCK | O_NOCTTY;
  auto first = co_await reactor_.open(path_.c_str(), flags);
  if (!first && first.error() == Errno(ENOENT) && may_create) {
    is_created_ = true;
    first = co_await reactor_.open(path_.c_str(), flags | O_CREAT | O_EXCL);
  }
  if (!first) co_return fail(cannot_open(path_, first.error()));
  intents_ = std::make_unique<aio::OpenFile>(reactor_, *first);
  CO_TRY(co_await lock());
  auto second = co_await reactor_.open(path_.c_str(), flags);
  if (!second) co_return fail(cannot_open(path_, second.error()));
  bits_ = std::make_unique<aio::OpenFile>(reactor_, *second);

  aio::FileInfo info;
  aio::FileInfo same;
  if (auto result = co_await reactor_.stat(*first, info); !result) co_return fail(cannot_open(path_, result.error()));
  if (auto result = co_await reactor_.stat(*second, same); !result) co_return fail(cannot_open(path_, result.error()));
  if (info.type != S_IFREG) {
    co_return fail(fmt::format("Could not open bitmap store '{}': it is not a regular file", path_));
  }
  if (info.device != same.device || info.inode != same.inode) {
    co_return fail(Error(fmt::format("Could not open bitmap store '{}': it was replaced meanwhile", path_))
                       .with_hint("Try again when no other program changes the file."));
  }
  size_bytes_ = info.size_bytes;
  co_await identify(info.inode);
  co_return Result<>();
}

aio::Task<void> StoreFile::identify(std::uint64_t inode) {
  identity_ = fmt::format("file {}", inode);
  AskedBirth asked{.fd = intents_->fd()};
  if (!co_await reactor_.call(ask_birth, &asked)) co_return;
  identity_ += fmt::format(" born {}.{:09}", asked.seconds, asked.nanoseconds);
}

aio::Task<Result<>> StoreFile::lock() {
  auto locked = co_await reactor_.lock(intents_->fd(), kLockOffset, F_WRLCK);
  if (locked) co_return Result<>();
  if (locked.error() == Errno(EAGAIN) || locked.error() == Errno(EACCES)) {
    co_return fail(Error(fmt::format("Could not lock bitmap store '{}': another process uses it", path_))
                       .with_hint("One daemon at a time may record the changes of an image.")
                       .as_busy());
  }
  co_return fail(Error::system(fmt::format("Could not lock bitmap store '{}'", path_), locked.error())
                     .with_hint("Keep the store on a file system that supports locks."));
}

aio::Task<IoResult> StoreFile::read(std::uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const iovec vector{bytes.data(), bytes.size()};
    auto count = co_await reactor_.read(bits_->fd(), std::span(&vector, 1), offset);
    if (!count) co_return fail(count.error());
    if (*count == 0) co_return fail(ENODATA);
    bytes = bytes.subspan(*count);
    offset += *count;
  }
  co_return IoResult();
}

aio::Task<IoResult> StoreFile::write(Description description, std::uint64_t offset, std::span<const std::byte> bytes,
                                     Durability durability) {
  while (!bytes.empty()) {
    // The kernel only reads from the vector.
    const iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
    auto count =
        co_await reactor_.write(fd(description), std::span(&vector, 1), offset, durability == Durability::kNow);
    if (!count) co_return fail(count.error());
    if (*count == 0) co_return fail(EIO);
    bytes = bytes.subspan(*count);
    offset += *count;
  }
  co_return IoResult();
}

aio::Task<IoResult> StoreFile::sync(Description description) {
  co_return co_await reactor_.sync(fd(description));
}

aio::Task<IoResult> StoreFile::truncate() {
  if (auto result = co_await reactor_.truncate(intents_->fd(), 0); !result) co_return fail(result.error());
  co_return co_await reactor_.sync(intents_->fd());
}

aio::Task<IoResult> StoreFile::unlink() {
  std::string path = path_;
  auto result = co_await reactor_.call(unlink_path, &path);
  if (!result) co_return fail(result.error());
  co_return IoResult();
}

aio::Task<IoResult> StoreFile::sync_directory() {
  const std::string directory = directory_of(path_);
  auto fd = co_await reactor_.open(directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (!fd) co_return fail(fd.error());
  const aio::OpenFile opened(reactor_, *fd);
  co_return co_await reactor_.sync(*fd);
}

}  // namespace blockexport::block
