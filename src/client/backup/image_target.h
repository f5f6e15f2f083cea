// Targets of a copy: SparseFile, a file or block device that gets data and zeroes, and ImageTarget, a raw image that
// appears under its name only when it is complete.
//
// Errors name the path. Thread: one; blocks.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"
#include "client/backup/file_io.h"

namespace blockexport::backup {

// A file whose zeroes are holes where it can have any.
class SparseFile {
 public:
  SparseFile() = default;
  // `is_fresh`: the file was just created, so all of it reads as zeroes.
  SparseFile(NamedFile file, bool is_fresh, bool is_device)
      : file_(std::move(file)), is_fresh_(is_fresh), is_device_(is_device) {}

  const NamedFile& file() const { return file_; }
  bool is_device() const { return is_device_; }

  // Writes data. Blocks of it that are zero become holes in a fresh file.
  Result<> write(std::uint64_t offset, std::span<const std::byte> bytes);
  // Makes a range read as zeroes.
  Result<> zero(std::uint64_t offset, std::uint64_t length);
  // Writes the contents to the disk, and then lets the kernel forget them, so that they are read from the disk again.
  Result<> sync_and_forget();
  // True if the range reads as zeroes. Holes are not read.
  Result<bool> reads_as_zeroes(std::uint64_t offset, std::uint64_t length) const;

 private:
  NamedFile file_;
  bool is_fresh_ = false;
  bool is_device_ = false;
};

struct ImageTargetOptions {
  std::string path;
  std::uint64_t size_bytes = 0;
  bool overwrites = false;  // may replace a file, or write to a block device
  bool is_resumed = false;  // continues an unfinished file
};

class ImageTarget {
 public:
  // Opens the block device `path`, or `path`.partial for a file. Error: the target exists and may not be overwritten,
  // or is in use; the device is too small.
  static Result<ImageTarget> open(const ImageTargetOptions& options);

  SparseFile& sparse() { return sparse_; }
  // Gives the image its name; what was written has been synced.
  Result<> commit();
  // Removes the unfinished file.
  void discard();

 private:
  ImageTargetOptions options_;
  SparseFile sparse_;
};

// Error: the target of an image exists and may not be overwritten, or is neither a file nor a block device. `path` is
// that of the target; a link is followed.
Result<> check_target(const std::string& path, bool overwrites);

bool is_block_device(const std::string& path);

// The name that an image has until it is complete.
std::string partial_path(const std::string& path);

}  // namespace blockexport::backup
