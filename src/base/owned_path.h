// OwnedPath: a path that this process created and removes at its end, unless another process has replaced the file.
//
// A newer daemon, for example, may bind its own unix socket at the path: that file is left alone. The file is
// recognised by device and inode, so the owner of a path must keep the file open until after remove(): the kernel may
// reuse the inode number of a file that nobody has open. Thread: any, not two at once; calls block in the file system.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

namespace blockexport {

// Device and inode, which identify a file among all that exist at the same time.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;

  // Identity of the file at `path`; of the link itself when it is a symbolic link. Nothing when it does not exist.
  static std::optional<FileIdentity> of_path(const std::string& path);
  // Identity of the open file of `fd`. For a unix socket it is that of the socket, not that of its path.
  static std::optional<FileIdentity> of_descriptor(int fd);
  bool operator==(const FileIdentity&) const = default;
};

class OwnedPath {
 public:
  OwnedPath() = default;
  // `identity`: of the file that was created at `path`. A relative path is made absolute now.
  OwnedPath(const std::string& path, FileIdentity identity);
  OwnedPath(OwnedPath&& other) noexcept
      : path_(std::exchange(other.path_, {})), identity_(std::exchange(other.identity_, {})) {}
  OwnedPath& operator=(OwnedPath&& other) noexcept;
  ~OwnedPath() { remove(); }

  // Absolute; empty when nothing is owned.
  const std::string& path() const { return path_; }
  explicit operator bool() const { return !path_.empty(); }

  // True if the path still names the file that we created.
  bool is_ours() const;
  // Removes the file if it is still ours; afterwards this object owns nothing.
  void remove();
  // Leaves the file in place; afterwards this object owns nothing.
  void keep() { path_.clear(); }

 private:
  std::string path_;
  FileIdentity identity_;
};

}  // namespace blockexport
