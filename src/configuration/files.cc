#include "configuration/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/errno.h"
#include "base/error.h"
#include "base/file_exposure.h"
#include "base/owned_fd.h"

namespace blockexport::configuration {
namespace {

constexpr mode_t kPermissions = 07777;

// The fault of a file or folder that somebody else than its owner can change, and the command that corrects it.
std::optional<std::string> find_writers(const std::string& path, const struct stat& status) {
  if (status.st_uid != geteuid() && status.st_uid != 0) {
    return fmt::format("It belongs to user {}, who is neither root nor the user of this process", status.st_uid);
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) == 0) return std::nullopt;
  return fmt::format("Its mode {:04o} lets other users change it; fix it with: chmod go-w {}",
                     status.st_mode & kPermissions, shell_word(path));
}

std::string find_readers(const std::string& path, const struct stat& status) {
  if ((status.st_mode & (S_IRGRP | S_IROTH)) == 0) return {};
  return fmt::format("its mode {:04o} lets other users read it; fix it with: chmod 600 {}",
                     status.st_mode & kPermissions, shell_word(path));
}

class Reading {
 public:
  explicit Reading(Findings& findings) : findings_(findings) {}

  void read(const std::string& path, FileKind kind, std::string id) {
    if (files_.paths.size() == kConfigurationFilesMax) {
      findings_.add({.file = path}, fmt::format("There are more than {} files", kConfigurationFilesMax));
      return;
    }
    files_.paths.push_back(path);
    ConfigurationFile file{.path = path, .kind = kind, .id = std::move(id)};
    // O_NONBLOCK, since the path may name a pipe that nobody writes to.
    const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status{};
    if (!fd || fstat(fd.get(), &status) != 0) return cannot_read(path, errno_text(Errno(errno)));
    if (!S_ISREG(status.st_mode)) return cannot_read(path, "It is not a regular file");
    if (auto fault = find_writers(path, status)) return cannot_read(path, *fault);
    file.read_exposure = find_readers(path, status);
    if (read_text(fd.get(), file)) files_.files.push_back(std::move(file));
  }

  void read_folder(const std::string& folder, FileKind kind) {
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(folder.c_str()), closedir);
    if (entries == nullptr) {
      if (errno != ENOENT) cannot_read(folder, errno_text(Errno(errno)));
      return;
    }
    struct stat status{};
    if (fstat(dirfd(entries.get()), &status) != 0) return cannot_read(folder, errno_text(Errno(errno)));
    if (auto fault = find_writers(folder, status)) return cannot_read(folder, *fault);
    std::vector<std::string> names;
    while (const dirent* entry = readdir(entries.get())) {
      const std::string_view name = entry->d_name;
      if (name.starts_with('.') || !(name.ends_with(".toml") || name.ends_with(".json"))) continue;
      if (names.size() > kConfigurationFilesMax) break;
      names.emplace_back(name);
    }
    std::ranges::sort(names);
    for (const std::string& name : names) {
      read(fmt::format("{}/{}", folder, name), kind, name.substr(0, name.rfind('.')));
    }
  }

  ConfigurationFiles take() { return std::move(files_); }

 private:
  void cannot_read(const std::string& path, std::string_view why) {
    findings_.add({.file = path}, fmt::format("The file cannot be used: {}", why));
  }

  bool read_text(int fd, ConfigurationFile& file) {
    auto piece = std::make_unique<char[]>(kPieceBytes);
    for (;;) {
      const ssize_t count = ::read(fd, piece.get(), kPieceBytes);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) cannot_read(file.path, errno_text(Errno(errno)));
      if (count <= 0) {
        explicit_bzero(piece.get(), kPieceBytes);
        return count == 0;
      }
      file.text.append({piece.get(), static_cast<std::size_t>(count)});
      bytes_ += static_cast<std::size_t>(count);
      if (file.text.size() > kConfigurationFileBytesMax || bytes_ > kConfigurationBytesMax) {
        cannot_read(file.path, fmt::format("It has more than {} bytes, or all files together more than {}",
                                           kConfigurationFileBytesMax, kConfigurationBytesMax));
        return false;
      }
    }
  }

  static constexpr std::size_t kPieceBytes = 65536;

  Findings& findings_;
  ConfigurationFiles files_;
  std::size_t bytes_ = 0;
};

}  // namespace

std::optional<WipedText> read_file(const std::string& path, Findings& findings) {
  Reading reading(findings);
  reading.read(path, FileKind::kWhole, {});
  ConfigurationFiles read = reading.take();
  if (read.files.empty()) return std::nullopt;
  return std::move(read.files.front().text);
}

ConfigurationFiles read_files(const std::string& path, Findings& findings) {
  Reading reading(findings);
  reading.read(path, FileKind::kWhole, {});
  const std::size_t slash = path.rfind('/');
  const std::string around = slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
  reading.read_folder(around + "conf.d", FileKind::kWhole);
  reading.read_folder(around + "exports.d", FileKind::kExport);
  return reading.take();
}

}  // namespace blockexport::configuration
