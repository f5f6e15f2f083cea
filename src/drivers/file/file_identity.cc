#include "drivers/file/file_identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <string_view>

#include "base/owned_fd.h"

namespace blockexport::drivers {
namespace {

// More than any attribute that is read here has.
constexpr std::size_t kAttributeBytesMax = 4096;

// The first line of a small file; empty when it cannot be read.
std::string read_line(const std::string& path) {
  const OwnedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  std::string text(kAttributeBytesMax, '\0');
  const ssize_t count = ::read(file.get(), text.data(), text.size());
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  text.resize(std::min(text.find('\n'), text.size()));
  // Fixed-width fields of disks are padded.
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// The name that outlives a restart of the host, of a device that is no partition.
std::string lasting_name(const std::string& directory) {
  // Names that are unique in the world come before serial numbers.
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kSources{{{"dm", "/dm/uuid"},
                                                                                   {"md", "/md/uuid"},
                                                                                   {"wwid", "/wwid"},
                                                                                   {"wwid", "/device/wwid"},
                                                                                   {"serial", "/serial"},
                                                                                   {"serial", "/device/serial"},
                                                                                   {"loop", "/loop/backing_file"}}};
  for (const auto& [kind, file] : kSources) {
    const std::string value = read_line(directory + std::string(file));
    if (value.empty()) continue;
    std::string name = fmt::format("{} {}", kind, value);
    if (kind == "loop") name += fmt::format(" offset {}", read_line(directory + "/loop/offset"));
    return name;
  }
  return {};
}

// The counters of writes and discards among those of a device (Documentation/block/stat.rst of the kernel).
std::string writes_of(const std::string& counters) {
  constexpr std::array<std::size_t, 4> kPositions{4, 6, 11, 13};  // I/Os and sectors written, then discarded
  std::istringstream stream(counters);
  std::string writes;
  std::string word;
  for (std::size_t position = 0; stream >> word; position++) {
    if (std::ranges::find(kPositions, position) != kPositions.end()) writes += word + " ";
  }
  return writes;
}

}  // namespace

std::expected<block::ImageIdentity, Errno> identity_of_file(int fd) {
  struct statx status{};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME | STATX_MTIME | STATX_CTIME, &status) != 0) {
    return fail(errno);
  }
  block::ImageIdentity found{
      .identity = fmt::format("file {}", status.stx_ino),
      .generation = fmt::format("modified {}.{:09} changed {}.{:09}", status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec,
                                status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec)};
  // Not every file system keeps it.
  if ((status.stx_mask & STATX_BTIME) != 0) {
    found.identity += fmt::format(" born {}.{:09}", status.stx_btime.tv_sec, status.stx_btime.tv_nsec);
  }
  return found;
}

std::expected<block::ImageIdentity, Errno> identity_of_device(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail(errno);
  return identity_of_device("/sys", read_line("/proc/sys/kernel/random/boot_id"), major(status.st_rdev),
                            minor(status.st_rdev));
}

std::expected<block::ImageIdentity, Errno> identity_of_device(const std::string& sysfs, const std::string& boot_id,
                                                              unsigned major, unsigned minor) {
  const std::string directory = fmt::format("{}/dev/block/{}:{}", sysfs, major, minor);
  block::ImageIdentity found;
  std::string disk = directory;
  const std::string partition = read_line(directory + "/partition");
  // The directory of a partition lies in that of its disk.
  if (!partition.empty()) disk += "/..";
  found.identity = lasting_name(disk);
  if (found.identity.empty()) return fail(ENODATA);
  if (!partition.empty()) found.identity += fmt::format(" part at {}", read_line(directory + "/start"));
  // The counters of a device begin anew when it appears.
  found.generation = fmt::format("boot {} disk {}\n{}", boot_id, read_line(disk + "/diskseq"),
                                 writes_of(read_line(directory + "/stat")));
  return found;
}

}  // namespace blockexport::drivers
