// OwnedPath: a name in the file system that we made, and which goes with us as long as it still names what we made.
//
// Another process may have put its own file at the path meanwhile, as a newer daemon does with a unix socket: that one
// is left alone. A name is recognised by device and inode of what it names, so whoever owns a path must keep its file
// open until after remove(): the inode of a file that nobody has open could be given to another.
// Thread: any, not two at once; calls wait for the file system.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

namespace blockexport {

// What tells a file from every other one that exists at the same time.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;

  // What a path names, which is the link itself where it is a link; nothing when there is no such name.
  static std::optional<FileIdentity> of_path(const std::string& path);
  // What a descriptor has open. A unix socket's is that of the socket, not that of its path.
  static std::optional<FileIdentity> of_descriptor(int fd);
  bool operator==(const FileIdentity&) const = default;
};

class OwnedPath {
 public:
  OwnedPath() = default;
  // `path` named `identity` when it was made. A relative path is that of now.
  OwnedPath(const std::string& path, FileIdentity identity);
  OwnedPath(OwnedPath&& other) noexcept
      : path_(std::exchange(other.path_, {})), identity_(std::exchange(other.identity_, {})) {}
  OwnedPath& operator=(OwnedPath&& other) noexcept;
  ~OwnedPath() { remove(); }

  // Absolute; empty when nothing is owned.
  const std::string& path() const { return path_; }
  explicit operator bool() const { return !path_.empty(); }

  // Whether the path still names what we made.
  bool is_ours() const;
  // Removes the name if it is ours, and owns nothing from then on.
  void remove();
  // Leaves the name where it is, and owns nothing from then on.
  void keep() { path_.clear(); }

 private:
  std::string path_;
  FileIdentity identity_;
};

}  // namespace blockexport
