#include "aio/posix/file_map.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include <cstring>
#include <memory>
#include <span>

#include "aio/posix/retry.h"

namespace blockexport::aio::posix {
namespace {

// Extents per ioctl: this many fit in the first-level cache, and more save nothing, since the kernel's time is spent
// per extent.
constexpr std::uint32_t kExtentsPerCall = 64;
// Ioctls per map: one run of data may consist of a million extents on the disk.
constexpr int kCallsPerMapMax = 128;
// Two changes within this time may have the same timestamp: a few ticks of the kernel's coarse clock.
constexpr std::int64_t kTimestampGranularityNs = 50'000'000;
constexpr std::uint32_t kXfsMagic = 0x58465342;

// The ioctl's argument: a header followed by the extents.
class FiemapRequest {
 public:
  std::int64_t ask(int fd, std::uint64_t offset, std::uint64_t length) {
    std::memset(bytes_.get(), 0, sizeof(struct fiemap));
    head().fm_start = offset;
    head().fm_length = length;
    head().fm_extent_count = kExtentsPerCall;
    return retry([&] { return ioctl(fd, FS_IOC_FIEMAP, &head()); });
  }
  std::span<const struct fiemap_extent> extents() const {
    auto* first = reinterpret_cast<const struct fiemap_extent*>(bytes_.get() + sizeof(struct fiemap));
    return {first, reinterpret_cast<const struct fiemap*>(bytes_.get())->fm_mapped_extents};
  }
  bool has_all() const {
    std::span found = extents();
    return found.size() < kExtentsPerCall || (found.back().fe_flags & FIEMAP_EXTENT_LAST) != 0;
  }

 private:
  struct fiemap& head() { return *reinterpret_cast<struct fiemap*>(bytes_.get()); }

  // new[] aligns the memory for both structs.
  std::unique_ptr<std::byte[]> bytes_ = std::make_unique_for_overwrite<std::byte[]>(
      sizeof(struct fiemap) + kExtentsPerCall * sizeof(struct fiemap_extent));
};

std::int64_t seek(int fd, std::uint64_t offset, int whence) {
  return retry([&] { return lseek(fd, static_cast<off_t>(offset), whence); });
}

std::int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * std::int64_t{1'000'000'000} + time.tv_nsec;
}

// True if FIEMAP and lseek() use the same records in the kernel (iomap) on this file system, so that FIEMAP reports
// delayed allocations as extents, and a range without extent is a hole. On other file systems FIEMAP may omit data that
// is not on the disk yet.
bool has_exact_fiemap(int fd) {
  struct statfs status{};
  if (fstatfs(fd, &status) != 0) return false;
  auto magic = static_cast<std::uint32_t>(status.f_type);
  return magic == EXT4_SUPER_MAGIC || magic == kXfsMagic;
}

bool is_settled(const FileInfo& info) {
  timespec now{};
  if (clock_gettime(CLOCK_REALTIME_COARSE, &now) != 0) return false;
  std::int64_t newest_ns = std::max(info.changed_ns, info.modified_ns);
  return nanoseconds(now) - newest_ns > kTimestampGranularityNs;
}

// Adds the extents of one ioctl, clipped to [at, end), and the holes between them; returns the new end, or minus an
// errno.
std::int64_t add_extents(int fd, std::span<const struct fiemap_extent> told, std::uint64_t at, std::uint64_t end,
                         FileMap& map) {
  for (const struct fiemap_extent& extent : told) {
    if (at == end) break;
    std::uint64_t stop = std::min<std::uint64_t>(extent.fe_logical + extent.fe_length, end);
    if (stop <= at) continue;
    if (extent.fe_logical > at) {
      map.add(std::min<std::uint64_t>(extent.fe_logical, end) - at, FileRunKind::kHole);
      at = extent.fe_logical;
    }
    if (map.runs.size() >= kRunsPerMapMax) break;
    if ((extent.fe_flags & FIEMAP_EXTENT_UNWRITTEN) == 0) {
      map.add(stop - at, FileRunKind::kData);
      at = stop;
      continue;
    }
    // An unwritten extent is zeros except for data in the page cache, which lseek() finds.
    auto seek_in_file = [fd](std::uint64_t offset, int whence) { return seek(fd, offset, whence); };
    std::int64_t reached = map_by_seeking(seek_in_file, at, stop - at, FileRunKind::kZeros, map);
    if (reached < 0) return reached;
    at = static_cast<std::uint64_t>(reached);
    if (at < stop) break;
  }
  return static_cast<std::int64_t>(at);
}

std::int64_t map_by_fiemap(int fd, std::uint64_t offset, std::uint64_t end, FileMap& map) {
  FiemapRequest request;
  for (int call = 0; call < kCallsPerMapMax && offset < end && map.runs.size() < kRunsPerMapMax; ++call) {
    if (std::int64_t result = request.ask(fd, offset, end - offset); result < 0) return result;
    std::int64_t reached = add_extents(fd, request.extents(), offset, end, map);
    if (reached < 0) return reached;
    offset = static_cast<std::uint64_t>(reached);
    if (!request.has_all() || map.runs.size() >= kRunsPerMapMax) continue;
    map.add(end - offset, FileRunKind::kHole);
    break;
  }
  return 0;
}

}  // namespace

std::int64_t stat_file(int fd, FileInfo& info) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return -errno;
  info.size_bytes = static_cast<std::uint64_t>(status.st_size);
  info.allocated_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
  info.type = status.st_mode & S_IFMT;
  info.block_bytes = static_cast<std::uint32_t>(status.st_blksize);
  info.device = status.st_dev;
  info.inode = status.st_ino;
  info.device_number = status.st_rdev;
  info.modified_ns = nanoseconds(status.st_mtim);
  info.changed_ns = nanoseconds(status.st_ctim);
  if (!S_ISBLK(status.st_mode)) return 0;
  int sector_bytes = 0;
  if (ioctl(fd, BLKGETSIZE64, &info.size_bytes) != 0 || ioctl(fd, BLKSSZGET, &sector_bytes) != 0) return -errno;
  info.block_bytes = static_cast<std::uint32_t>(sector_bytes);
  return 0;
}

std::int64_t map_file(int fd, std::uint64_t offset, std::uint64_t length, FileMap& map) {
  auto seek_in_file = [fd](std::uint64_t at, int whence) { return seek(fd, at, whence); };
  if (stat_file(fd, map.info) == 0) map.file_bytes = map.info.size_bytes;
  if (!has_exact_fiemap(fd) || map_by_fiemap(fd, offset, offset + length, map) < 0) {
    map.runs.clear();
    return std::min<std::int64_t>(map_by_seeking(seek_in_file, offset, length, FileRunKind::kZeros, map), 0);
  }
  FileInfo after;
  map.exact = map.file_bytes != UINT64_MAX;
  map.lasting = map.exact && is_settled(map.info) && stat_file(fd, after) == 0 && after == map.info;
  return 0;
}

}  // namespace blockexport::aio::posix
