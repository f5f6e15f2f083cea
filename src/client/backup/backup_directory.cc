#include "client/backup/backup_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/printable.h"
#include "client/backup/file_io.h"

namespace blockexport::backup {
namespace {

constexpr std::string_view kCopyHint = "Get the file from another copy of the backup; or restore an earlier point.";

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

TableBounds OpenPoint::bounds() const {
  const Manifest& one = manifest.manifest;
  return {.records = one.records,
          .disk_bytes = one.disk_bytes,
          .data_bytes = one.data_bytes,
          .covers_whole_disk = !one.parent,
          .is_packed = true};
}

BackupDirectory::BackupDirectory(std::string path) : path_(std::move(path)) {
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
}

std::string BackupDirectory::file(std::uint64_t number, std::string_view extension) const {
  return fmt::format("{}/{}.{}", path_, id_of(number), extension);
}

Result<> BackupDirectory::create() const {
  if (::mkdir(path_.c_str(), 0777) == 0) return sync_directory(directory_of(path_));
  if (errno == EEXIST) return {};
  return fail(Error::system(fmt::format("cannot create '{}'", printable(path_, 1024)), Errno::last()));
}

Result<OwnedFd> BackupDirectory::lock() const {
  OwnedFd fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(Error::system(fmt::format("cannot open '{}'", printable(path_, 1024)), Errno::last()));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) {
    return fail(Error::system(fmt::format("cannot lock '{}'", printable(path_, 1024)), Errno::last()));
  }
  return fail(Error(fmt::format("another blockexport pull writes to '{}'", printable(path_, 1024)))
                  .with_hint("Try again when that has ended."));
}

Result<std::vector<std::uint64_t>> BackupDirectory::list() const {
  std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path_.c_str()));
  if (!directory) return fail(Error::system(fmt::format("cannot read '{}'", printable(path_, 1024)), Errno::last()));
  std::vector<std::uint64_t> numbers;
  errno = 0;
  while (const dirent* entry = ::readdir(directory.get())) {
    std::string_view name(entry->d_name);
    if (name.ends_with(".json")) {
      name.remove_suffix(5);
      if (const auto number = number_from_id(name)) numbers.push_back(*number);
    }
    if (numbers.size() > kPointsMax) {
      return fail(Error(fmt::format("'{}' has more than {} points", printable(path_, 1024), kPointsMax))
                      .with_hint("Start another directory."));
    }
    errno = 0;
  }
  if (errno != 0) {
    return fail(Error::system(fmt::format("cannot read '{}'", printable(path_, 1024)), Errno::last()));
  }
  std::ranges::sort(numbers);
  return numbers;
}

Result<SummedManifest> BackupDirectory::read(std::uint64_t number) const {
  const std::string path = manifest_path(number);
  TRY_ASSIGN(const auto text, read_small_file(path, kManifestBytesMax));
  if (!text) {
    return fail(Error(fmt::format("there is no point {}: '{}' does not exist", id_of(number), printable(path, 1024)))
                    .with_hint(fmt::format("The points are listed by: blockexport restore --list {}", path_)));
  }
  auto parsed = parse_manifest(*text);
  if (!parsed) return fail(std::move(parsed.error()).with_prefix(fmt::format("'{}' ", printable(path, 1024))));
  if (parsed->manifest.number == number) return parsed;
  return fail(
      Error(fmt::format("'{}' is the manifest of point {}", printable(path, 1024), id_of(parsed->manifest.number)))
          .with_hint("Give the file its own name again."));
}

Result<std::vector<SummedManifest>> BackupDirectory::chain(std::uint64_t number) const {
  std::vector<SummedManifest> points;
  TRY_ASSIGN(SummedManifest newest, read(number));
  points.push_back(std::move(newest));
  while (points.back().manifest.parent) {
    const ParentPoint parent = *points.back().manifest.parent;
    const std::string child = id_of(points.back().manifest.number);
    if (points.size() == kChainPointsMax) {
      return fail(Error(fmt::format("the chain of point {} has more than {} points", id_of(number), kChainPointsMax))
                      .with_hint("Restore an earlier point, and make full points more often."));
    }
    const std::string path = manifest_path(parent.number);
    if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) {
      return fail(
          Error(fmt::format("the chain of point {} has a hole: point {} needs point {}, and '{}' does not exist",
                            id_of(number), child, id_of(parent.number), printable(path, 1024)))
              .with_hint(std::string(kCopyHint)));
    }
    TRY_ASSIGN(SummedManifest read_parent, read(parent.number));
    if (read_parent.sum != parent.sum) {
      return fail(Error(fmt::format("'{}' is not the point that point {} is based on: their checksums differ",
                                    printable(path, 1024), child))
                      .with_hint(std::string(kCopyHint)));
    }
    if (read_parent.manifest.disk_bytes > points.back().manifest.disk_bytes) {
      return fail(
          Error(fmt::format("'{}' has a larger disk than point {}, which is based on it", printable(path, 1024), child))
              .with_hint(std::string(kCopyHint)));
    }
    points.push_back(std::move(read_parent));
  }
  std::ranges::reverse(points);
  return points;
}

Result<OpenPoint> BackupDirectory::open(SummedManifest manifest) const {
  OpenPoint point{.manifest = std::move(manifest), .table = {}, .data = {}};
  const Manifest& one = point.manifest.manifest;
  struct Expected {
    NamedFile* file;
    std::string path;
    std::uint64_t bytes;
  };
  for (const Expected& expected : {Expected{&point.table, table_path(one.number), one.records * kRecordBytes},
                                   Expected{&point.data, data_path(one.number), one.data_bytes}}) {
    auto opened = open_file(expected.path, O_RDONLY);
    if (!opened) return fail(std::move(opened.error()).with_hint(std::string(kCopyHint)));
    *expected.file = std::move(*opened);
    TRY_ASSIGN(const std::uint64_t bytes, size_of(*expected.file));
    if (bytes == expected.bytes) continue;
    return fail(
        Error(fmt::format("'{}' has {} bytes instead of {}", printable(expected.path, 1024), bytes, expected.bytes))
            .with_hint(std::string(kCopyHint)));
  }
  TRY_ASSIGN(const Sha256 sum, sum_of_table(point.table, one.records));
  if (sum == one.table_sum) return point;
  return fail(Error(fmt::format("'{}' is damaged: its checksum is wrong", printable(point.table.path, 1024)))
                  .with_hint(std::string(kCopyHint)));
}

}  // namespace blockexport::backup
