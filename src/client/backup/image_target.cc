#include "client/backup/image_target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "base/printable.h"

namespace blockexport::backup {
namespace {

// Blocks of zeroes of this size are holes; smaller ones would fragment the file.
constexpr std::size_t kHoleBytes = std::size_t{64} << 10;
constexpr std::size_t kZeroBytesAtOnce = std::size_t{1} << 20;

// A regular file, a block device, or nothing yet.
Result<mode_t> type_of(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) return status.st_mode & S_IFMT;
  if (errno == ENOENT) return mode_t{0};
  return fail(Error::system(fmt::format("cannot access '{}'", printable(path, 1024)), Errno::last()));
}

// An image replaces the file, not a link to it.
std::string resolved_path(const std::string& path) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return path;
  std::string text(resolved);
  std::free(resolved);
  return text;
}

Result<NamedFile> open_device(const ImageTargetOptions& options) {
  // O_EXCL makes the kernel refuse a device that is mounted or used by another driver.
  NamedFile file{.fd = OwnedFd(::open(options.path.c_str(), O_RDWR | O_EXCL | O_CLOEXEC)), .path = options.path};
  if (!file.fd) {
    const Errno cause = Errno::last();
    Error error = Error::system(fmt::format("cannot open '{}'", printable(options.path, 1024)), cause);
    if (cause == Errno(EBUSY)) return fail(std::move(error).with_hint("It is mounted, or in use."));
    return fail(std::move(error));
  }
  TRY_ASSIGN(const std::uint64_t bytes, size_of(file));
  if (bytes >= options.size_bytes) return file;
  return fail(fmt::format("'{}' has {} bytes, which are too few for an image of {} bytes",
                          printable(options.path, 1024), bytes, options.size_bytes));
}

}  // namespace

Result<> SparseFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!is_fresh_) return write_all(file_, offset, bytes);
  while (!bytes.empty()) {
    const auto is_hole = [&](std::size_t at) {
      return is_all_zero(bytes.subspan(at, std::min(kHoleBytes, bytes.size() - at)));
    };
    // A run of blocks that are all holes, or all data.
    const bool is_run_of_holes = is_hole(0);
    std::size_t length = std::min(kHoleBytes, bytes.size());
    while (length < bytes.size() && is_hole(length) == is_run_of_holes) {
      length += std::min(kHoleBytes, bytes.size() - length);
    }
    if (!is_run_of_holes) TRY(write_all(file_, offset, bytes.first(length)));
    offset += length;
    bytes = bytes.subspan(length);
  }
  return {};
}

Result<> SparseFile::zero(std::uint64_t offset, std::uint64_t length) {
  if (is_fresh_ || length == 0) return {};
  const int mode = is_device_ ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
  if (::fallocate(file_.fd.get(), mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(length)) ==
      0) {
    return {};
  }
  const std::vector<std::byte> zeroes(std::min<std::uint64_t>(length, kZeroBytesAtOnce));
  while (length > 0) {
    const std::uint64_t count = std::min<std::uint64_t>(length, zeroes.size());
    TRY(write_all(file_, offset, std::span(zeroes).first(count)));
    offset += count;
    length -= count;
  }
  return {};
}

Result<> SparseFile::sync_and_forget() {
  TRY(sync(file_));
  // Advice: a kernel that keeps the pages has only fewer reads from the disk.
  (void)::posix_fadvise(file_.fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  return {};
}

Result<bool> SparseFile::reads_as_zeroes(std::uint64_t offset, std::uint64_t length) const {
  const std::uint64_t end = offset + length;
  std::vector<std::byte> bytes;
  while (offset < end) {
    const off_t data = ::lseek(file_.fd.get(), static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return true;  // a hole up to the end of the file
    // Reads everything if the kernel does not report holes.
    if (data > 0) offset = std::max(offset, static_cast<std::uint64_t>(data));
    if (offset >= end) return true;
    bytes.resize(std::min<std::uint64_t>(end - offset, kZeroBytesAtOnce));
    TRY(read_all(file_, offset, bytes));
    if (!is_all_zero(bytes)) return false;
    offset += bytes.size();
  }
  return true;
}

Result<> check_target(const std::string& path, bool overwrites) {
  TRY_ASSIGN(const mode_t type, type_of(path));
  if (type == 0) return {};
  if (type != S_IFREG && type != S_IFBLK) {
    return fail(Error(fmt::format("'{}' is neither a file nor a block device", printable(path, 1024)))
                    .with_hint("Name a new file, or a block device."));
  }
  if (overwrites) return {};
  return fail(Error(fmt::format("'{}' exists", printable(path, 1024)))
                  .with_hint("Name another target, or overwrite it with --overwrite."));
}

bool is_block_device(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
}

std::string partial_path(const std::string& path) {
  return path + ".partial";
}

Result<ImageTarget> ImageTarget::open(const ImageTargetOptions& options) {
  TRY(check_target(options.path, options.overwrites));
  ImageTarget target;
  target.options_ = options;
  target.options_.path = resolved_path(options.path);
  TRY_ASSIGN(const mode_t type, type_of(options.path));
  if (type == S_IFBLK) {
    TRY_ASSIGN(NamedFile device, open_device(options));
    target.sparse_ = SparseFile(std::move(device), false, true);
    return target;
  }
  TRY_ASSIGN(NamedFile file, open_file(partial_path(target.options_.path), O_RDWR | O_CREAT));
  if (::flock(file.fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return fail(Error(fmt::format("another blockexport writes to '{}'", printable(file.path, 1024)))
                    .with_hint("Try again when that has ended."));
  }
  if (!options.is_resumed) TRY(resize(file, 0));
  TRY(resize(file, options.size_bytes));
  target.sparse_ = SparseFile(std::move(file), !options.is_resumed, false);
  return target;
}

Result<> ImageTarget::commit() {
  if (sparse_.is_device()) return {};
  struct stat status{};
  // The new image keeps the permissions of the file that it replaces, where it may.
  if (::stat(options_.path.c_str(), &status) == 0) (void)::fchmod(sparse_.file().fd.get(), status.st_mode & 0777);
  return rename_file(sparse_.file().path, options_.path, options_.overwrites);
}

void ImageTarget::discard() {
  if (!sparse_.is_device()) (void)remove_file(sparse_.file().path);
}

}  // namespace blockexport::backup
