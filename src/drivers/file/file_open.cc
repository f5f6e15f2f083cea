// FileDriver: opening, inspection, locks and resizing of the file.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "base/absolute_path.h"
#include "drivers/file/allowed_directories.h"
#include "drivers/file/file_driver.h"
#include "drivers/file/file_identity.h"
#include "drivers/file/file_limits.h"

namespace blockexport::drivers {
namespace {

struct AskedFile {
  int fd;
  DirectAlignment alignment = {};
};

struct AskedIdentity {
  int fd;
  bool is_device;
  block::ImageIdentity answer = {};
};

// Called through Reactor::call.
std::int64_t ask_identity(void* argument) {
  auto& asked = *static_cast<AskedIdentity*>(argument);
  auto found = asked.is_device ? identity_of_device(asked.fd) : identity_of_file(asked.fd);
  if (!found) return -found.error().value();
  asked.answer = std::move(*found);
  return 0;
}

// Called through Reactor::call. Kernels before 6.1 do not report the alignment of direct I/O.
std::int64_t ask_direct_alignment(void* argument) {
#ifdef STATX_DIOALIGN
  auto& asked = *static_cast<AskedFile*>(argument);
  struct statx status{};
  if (statx(asked.fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) != 0) return -errno;
  if ((status.stx_mask & STATX_DIOALIGN) == 0) return 0;
  asked.alignment = {.memory = status.stx_dio_mem_align, .offset = status.stx_dio_offset_align};
#else
  (void)argument;
#endif
  return 0;
}

struct AskedOpening {
  const AllowedDirectories& directories;
  std::string path;
  int flags;
  OwnedFd fd = {};
};

// Called through Reactor::call_abandonably.
std::int64_t open_beneath(void* argument) {
  auto& asked = *static_cast<AskedOpening*>(argument);
  auto opened = asked.directories.open_file(asked.path, asked.flags);
  if (!opened) return -opened.error().value();
  asked.fd = std::move(*opened);
  return 0;
}

aio::Task<std::expected<int, Errno>> open_path(aio::Reactor& reactor, const std::string& path, int flags,
                                               const AllowedDirectories* beneath) {
  if (beneath == nullptr) co_return co_await reactor.open(path.c_str(), flags);
  const std::shared_ptr<void> asked = std::make_shared<AskedOpening>(AskedOpening{*beneath, path, flags});
  CO_TRY(co_await reactor.call_abandonably(open_beneath, asked));
  co_return static_cast<AskedOpening*>(asked.get())->fd.release();
}

Error opening_error(const FileOptions& options, Errno cause) {
  std::string message = fmt::format("Could not open '{}'", options.filename);
  if (options.beneath == nullptr || (cause != Errno(EXDEV) && cause != Errno(ENOSYS))) {
    return Error::system(std::move(message), cause);
  }
  if (cause == Errno(ENOSYS)) {
    return Error::system(std::move(message), cause)
        .with_hint("The kernel has no openat2(2), or a seccomp profile hides it; --image-references needs it.");
  }
  return Error(std::move(message) + ": an image names it, and it is in no directory of --image-references")
      .with_hint("Give 'backing' or 'data-file' in the options of the node, or one more --image-references DIRECTORY.");
}

}  // namespace

FileDriver::FileDriver(aio::Reactor& home, FileOptions options, int fd)
    : home_(home),
      options_(std::move(options)),
      path_(absolute_path(options_.filename)),
      file_(std::make_shared<aio::OpenFile>(home, fd)),
      fd_(fd),
      file_bytes_(0) {}

FileDriver::~FileDriver() = default;

aio::Task<std::expected<int, Errno>> FileDriver::open_fd(aio::Reactor& reactor, const std::string& path,
                                                         FileOptions& options) {
  int flags = O_NONBLOCK | O_NOCTTY | (options.direct ? O_DIRECT : 0);
  auto fd = co_await open_path(reactor, path, flags | (options.read_only ? O_RDONLY : O_RDWR), options.beneath);
  if (fd || options.read_only || !options.auto_read_only) co_return fd;
  if (fd.error() != Errno(EACCES) && fd.error() != Errno(EROFS) && fd.error() != Errno(EPERM)) co_return fd;
  options.read_only = true;
  co_return co_await open_path(reactor, path, flags | O_RDONLY, options.beneath);
}

aio::Task<Result<std::unique_ptr<FileDriver>>> FileDriver::open(FileOptions options) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  if (options.filename.empty()) {
    co_return fail(fmt::format("The '{}' block driver requires a file name",
                               options.type == FileType::kDevice ? "host_device" : "file"));
  }
  if (options.aio == FileAio::kNative && !options.direct) {
    co_return fail("aio=native was specified, but it requires cache.direct=on, which was not specified.");
  }
  if (options.aio == FileAio::kIoUring && reactor.backend_name() == "epoll") {
    co_return fail("Unable to use io_uring: the system does not provide it to this process");
  }
  // Opens the path as the user gave it: the process may have no access to a directory of the absolute path.
  const std::string path = options.filename;
  auto fd = co_await open_fd(reactor, path, options);
  if (!fd) co_return fail(opening_error(options, fd.error()));

  std::unique_ptr<FileDriver> driver(new FileDriver(reactor, std::move(options), *fd));
  CO_TRY(co_await driver->inspect());
  co_return driver;
}

// Checks the type of the opened file, and reads its size and limits.
aio::Task<Result<>> FileDriver::inspect() {
  const std::string& path = options_.filename;
  aio::FileInfo info;
  if (auto result = co_await home_.stat(fd_, info); !result) {
    co_return fail(Error::system(fmt::format("Could not open '{}'", path), result.error()));
  }
  if (!is_device() && info.type != S_IFREG) {
    co_return fail(fmt::format("'file' driver requires '{}' to be a regular file", path));
  }
  if (is_device() && info.type != S_IFBLK) {
    if (info.type == S_IFCHR) co_return fail(fmt::format("'{}' is a character device, which is not supported", path));
    co_return fail(fmt::format("'host_device' driver requires '{}' to be either a character or block device", path));
  }
  host_file_ = {.device = is_device() ? info.device_number : info.device,
                .inode = is_device() ? 0 : info.inode,
                .is_block_device = is_device()};
  file_bytes_ = info.size_bytes;
  lives_in_memory_ = info.in_memory;
  if (is_device()) device_block_bytes_ = std::max<std::uint64_t>(info.block_bytes, kSectorBytes);
  drops_direct_syncs_ = info.drops_direct_syncs;
  limits_ = co_await limits_of(home_, fd_, options_, info.block_bytes);
  if (options_.locking == FileLocking::kOff) co_return Result<>();

  auto has_locks = co_await FileLocks::supported(home_, fd_);
  if (!has_locks) co_return fail(Error::system(fmt::format("Failed to lock '{}'", path), has_locks.error()));
  if (*has_locks) {
    locks_ = std::make_unique<FileLocks>(file_, path);
  } else if (options_.locking == FileLocking::kOn) {
    co_return fail(fmt::format("The file system of '{}' has no locks, which locking=on asks for", path));
  }
  co_return Result<>();
}

aio::Task<block::Limits> FileDriver::limits_of(aio::Reactor& reactor, int fd, const FileOptions& options,
                                               std::uint32_t block_bytes) {
  if (!options.direct) co_return file_limits(block_bytes, std::nullopt);
  AskedFile asked{.fd = fd};
  const auto answer = co_await reactor.call(ask_direct_alignment, &asked);
  co_return file_limits(block_bytes, answer ? asked.alignment : DirectAlignment());
}

std::optional<block::HostFile> FileDriver::host_file() const {
  block::HostFile file = host_file_;
  file.path = absolute_path(options_.filename) == path_ ? options_.filename : path_;
  return file;
}

std::uint64_t FileDriver::size_bytes() const {
  std::uint64_t bytes = file_bytes_.load(std::memory_order_relaxed);
  return (bytes + kSectorBytes - 1) & ~(kSectorBytes - 1);
}

aio::Task<std::optional<std::uint64_t>> FileDriver::allocated_bytes() {
  aio::FileInfo info;
  auto result = co_await home_.stat(fd_, info);
  if (!result) co_return std::nullopt;
  co_return info.allocated_bytes;
}

aio::Task<Result<block::ImageIdentity>> FileDriver::identify() {
  AskedIdentity asked{.fd = fd_, .is_device = is_device()};
  const auto answered = co_await home_.call(ask_identity, &asked);
  if (answered) co_return std::move(asked.answer);
  if (answered.error() == Errno(ENODATA)) {
    co_return fail(Error(fmt::format("The kernel knows no lasting name of '{}'", options_.filename))
                       .with_hint("A bitmap store needs a device with a WWID, a serial number or a device-mapper UUID, "
                                  "such as an LVM volume."));
  }
  co_return fail(Error::system(fmt::format("Could not identify '{}'", options_.filename), answered.error()));
}

aio::Task<Result<>> FileDriver::set_permissions(block::Permissions permissions) {
  if (locks_ == nullptr) co_return Result<>();
  co_return co_await locks_->change(home_, permissions);
}

void FileDriver::raise_size(std::uint64_t end) {
  std::uint64_t seen = file_bytes_.load(std::memory_order_relaxed);
  while (seen < end && !file_bytes_.compare_exchange_weak(seen, end, std::memory_order_relaxed)) {
  }
  extents_.clear();
}

aio::Task<IoResult> FileDriver::grow(std::uint64_t size_bytes) {
  aio::Reactor& reactor = co_await aio::current_reactor();
  block::RangeLock::Hold hold(growth_, reactor, {0, INT64_MAX}, block::RangeLock::Kind::kExclusive);
  co_await hold.acquire();
  if (size_bytes <= this->size_bytes()) co_return IoResult();
  if (is_device()) co_return fail(ENOSPC);
  CO_TRY(co_await reactor.truncate(fd_, size_bytes));
  raise_size(size_bytes);
  co_return IoResult();
}

aio::Task<Result<>> FileDriver::resize(std::uint64_t size_bytes) {
  if (is_device()) {
    if (size_bytes == file_bytes_) co_return Result<>();
    co_return fail(size_bytes > file_bytes_ ? "Cannot grow device files" : "Cannot resize device files");
  }
  auto result = co_await home_.truncate(fd_, size_bytes);
  if (!result) co_return fail(Error::system("Failed to resize file", result.error()));
  file_bytes_ = size_bytes;
  extents_.clear();
  co_return Result<>();
}

}  // namespace blockexport::drivers
