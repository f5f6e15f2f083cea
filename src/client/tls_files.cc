#include "client/tls_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/owned_fd.h"

namespace blockexport::client {
namespace {

// Creates a file. With `like`, the status of the file that it replaces, it gets the same owner and mode.
Result<> write_file(const std::string& path, const NewFile& file, const struct stat* like = nullptr) {
  mode_t mode = file.is_secret ? 0600 : 0644;
  OwnedFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return fail(Error::system(fmt::format("cannot create '{}'", path), Errno::last()));
  for (std::string_view rest = file.text; !rest.empty();) {
    ssize_t count = ::write(fd.get(), rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(Error::system(fmt::format("cannot write '{}'", path), Errno::last()));
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  if (like != nullptr) {
    mode = like->st_mode & (file.is_secret ? S_IRWXU | S_IRGRP : 0777);
    const bool is_ours = like->st_uid == geteuid() && like->st_gid == getegid();
    if (!is_ours && fchown(fd.get(), like->st_uid, like->st_gid) != 0) {
      return fail(Error::system(fmt::format("cannot give '{}' to user {}", path, like->st_uid), Errno::last()));
    }
  }
  // Sets the mode again, because the umask may have reduced it.
  if (fchmod(fd.get(), mode) != 0 || fsync(fd.get()) != 0) {
    return fail(Error::system(fmt::format("cannot write '{}'", path), Errno::last()));
  }
  return {};
}

// A temporary directory in which files are written before they are renamed to their final names.
class Stage {
 public:
  // `pattern` ends in XXXXXX.
  static Result<Stage> create(std::string pattern) {
    if (mkdtemp(pattern.data()) == nullptr) {
      return fail(Error::system(fmt::format("cannot create a directory like '{}'", pattern), Errno::last()));
    }
    return Stage(std::move(pattern));
  }
  Stage(Stage&& other) noexcept : path_(std::move(other.path_)), names_(std::move(other.names_)) {
    other.path_.clear();
  }
  ~Stage() {
    if (path_.empty()) return;
    for (const std::string& name : names_) unlink(name.c_str());
    rmdir(path_.c_str());
  }

  Result<> fill(const std::vector<NewFile>& files, const struct stat* like = nullptr) {
    for (const NewFile& file : files) {
      names_.push_back(fmt::format("{}/{}", path_, file.name));
      TRY(write_file(names_.back(), file, like));
    }
    return {};
  }
  const std::string& path() const { return path_; }
  // Keeps the directory, which was renamed to its final name.
  void keep() { path_.clear(); }

 private:
  explicit Stage(std::string path) : path_(std::move(path)) {}
  std::string path_;
  std::vector<std::string> names_;
};

Error cannot_move(const std::string& target) {
  if (errno == EEXIST) {
    return Error(fmt::format("'{}' is there already, and nothing is overwritten", target))
        .with_hint("Name another directory, or move what is there out of the way.");
  }
  return Error::system(fmt::format("cannot create '{}'", target), Errno::last());
}

Result<> move_new(const std::string& from, const std::string& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  return fail(cannot_move(to));
}

void sync_directory(const std::string& path) {
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) fsync(fd.get());
}

Result<> fill_directory(const std::string& directory, const std::vector<NewFile>& files) {
  for (const NewFile& file : files) {
    std::string path = fmt::format("{}/{}", directory, file.name);
    if (access(path.c_str(), F_OK) == 0) {
      errno = EEXIST;
      return fail(cannot_move(path));
    }
  }
  TRY_ASSIGN(Stage stage, Stage::create(directory + "/.new-XXXXXX"));
  TRY(stage.fill(files));
  for (std::size_t i = 0; i < files.size(); ++i) {
    Result<> moved =
        move_new(fmt::format("{}/{}", stage.path(), files[i].name), fmt::format("{}/{}", directory, files[i].name));
    if (moved) continue;
    while (i-- > 0) unlink(fmt::format("{}/{}", directory, files[i].name).c_str());
    return moved;
  }
  sync_directory(directory);
  return {};
}

}  // namespace

Result<std::optional<ReadFile>> read_file(const std::string& directory, std::string_view name) {
  std::string path = fmt::format("{}/{}", directory, name);
  // O_NONBLOCK, since opening a pipe could block.
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::nullopt;
  struct stat status{};
  if (!fd || fstat(fd.get(), &status) != 0) {
    return fail(Error::system(fmt::format("cannot read '{}'", path), Errno::last()));
  }
  if (!S_ISREG(status.st_mode)) return fail(fmt::format("'{}' is not a regular file", path));
  ReadFile file{.text = std::string(kFileBytesMax + 1, '\0'), .mode = status.st_mode & 07777, .owner = status.st_uid};
  std::size_t filled = 0;
  while (filled < file.text.size()) {
    ssize_t count = ::read(fd.get(), file.text.data() + filled, file.text.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(Error::system(fmt::format("cannot read '{}'", path), Errno::last()));
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  if (filled > kFileBytesMax) return fail(fmt::format("'{}' is longer than {} bytes", path, kFileBytesMax));
  file.text.resize(filled);
  return file;
}

Result<> make_files(const std::string& directory, const std::vector<NewFile>& files) {
  std::string path = directory;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  struct stat status{};
  if (stat(path.c_str(), &status) == 0) {
    if (!S_ISDIR(status.st_mode)) return fail(fmt::format("'{}' is not a directory", path));
    return fill_directory(path, files);
  }
  TRY_ASSIGN(Stage stage, Stage::create(path + ".XXXXXX"));
  TRY(stage.fill(files));
  sync_directory(stage.path());
  TRY(move_new(stage.path(), path));
  stage.keep();
  std::size_t slash = path.rfind('/');
  sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
  return {};
}

Result<> replace_file(const std::string& directory, const NewFile& file) {
  const std::string target = fmt::format("{}/{}", directory, file.name);
  struct stat before{};
  const bool is_there = stat(target.c_str(), &before) == 0;
  TRY_ASSIGN(Stage stage, Stage::create(directory + "/.new-XXXXXX"));
  TRY(stage.fill({file}, is_there ? &before : nullptr));
  if (rename(fmt::format("{}/{}", stage.path(), file.name).c_str(), target.c_str()) != 0) {
    return fail(Error::system(fmt::format("cannot replace '{}'", target), Errno::last()));
  }
  sync_directory(directory);
  return {};
}

Result<OwnedFd> lock_directory(const std::string& directory) {
  OwnedFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(Error::system(fmt::format("cannot open '{}'", directory), Errno::last()));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return fail(Error::system(fmt::format("cannot lock '{}'", directory), Errno::last()));
  return fail(Error(fmt::format("'{}' is being changed by another blockexport tls", directory))
                  .with_hint("Try again when that has ended."));
}

void wipe(std::string& secret) {
  explicit_bzero(secret.data(), secret.size());
  secret.clear();
}

}  // namespace blockexport::client
