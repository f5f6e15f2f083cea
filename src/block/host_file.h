// HostFile: identity of a file or block device of this host while it is open. Plain value.
#pragma once

#include <cstdint>
#include <string>

namespace blockexport::block {

struct HostFile {
  // A path that leads there from the current working directory: as its user wrote it, if that still does.
  std::string path = {};
  // Of a file: its file system and its number there. Of a block device: the device's own number, and 0.
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool is_block_device = false;

  bool is_same_as(const HostFile& other) const {
    return device == other.device && inode == other.inode && is_block_device == other.is_block_device;
  }
};

}  // namespace blockexport::block
