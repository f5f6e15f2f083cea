// ImageBitmaps: the persistent bitmaps that a driver keeps inside its image, as a format with a bitmap directory has.
//
// They are loaded when the node is opened, are in memory while it is used, and are stored when it is closed or becomes
// read-only. Before the first change of the image or of a bitmap the driver marks those in the image as in use: so
// after a crash they are inconsistent, and never wrong. Owned by the driver, which implements it. Thread: the control
// reactor, while the node is quiesced or is no part of the graph yet. Errors are for users.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "block/bitmap_keeper.h"

namespace blockexport::block {

class DirtyBits;

class ImageBitmaps : public BitmapKeeper {
 public:
  struct Kept {
    std::string name = {};
    std::uint32_t granularity_bytes = 0;
    bool is_enabled = false;
    bool is_inconsistent = false;  // it was in use when the image was closed; it cannot be loaded
  };

  // Those in the image. Fails if they are too many, or too large, to be loaded.
  virtual Result<std::vector<Kept>> kept() const = 0;
  // Marks the dirty granules of a bitmap in `bits`, which are clean and have the size of the node and the granularity.
  virtual aio::Task<Result<>> load(std::string name, DirtyBits& bits) = 0;
  // Marks the bitmaps in the image as in use, unless they are. Durable when it returns. The node is writable.
  virtual aio::Task<Result<>> begin_use() = 0;
  // Writes those of `list` that this keeps to the image, and ends their use. An error: the image keeps the former ones,
  // which are in use, and therefore inconsistent at the next opening. The node is writable.
  virtual aio::Task<Result<>> store(const BitmapList& list) = 0;
  // Fails if the size of the node may not become `size_bytes` with these bitmaps.
  virtual Result<> check_resize(const BitmapList& list, std::uint64_t size_bytes) const = 0;

 protected:
  ~ImageBitmaps() = default;
};

}  // namespace blockexport::block
