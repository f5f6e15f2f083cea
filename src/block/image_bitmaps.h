// ImageBitmaps: the persistent bitmaps that a driver keeps inside its image, as a format with a bitmap directory has.
//
// They are loaded when the node is opened, are in memory while it is used, and are stored when it is closed or becomes
// read-only. Before the first change of the image or of a bitmap the driver marks those in the image as in use: so
// after a crash they are inconsistent, and never wrong. A bitmap store beside the image (block/node_store.h) can have
// them meanwhile; then the image names a session of the store. Owned by the driver, which implements it. Thread: the
// control reactor, while the node is quiesced or is no part of the graph yet. Errors are for users.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "block/bitmap_keeper.h"
#include "block/image_identity.h"

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

  // --- a bitmap store beside the image ---

  // The files and devices that have the image, and a generation that whoever writes them changes. Fails if the image
  // can name no session.
  virtual aio::Task<Result<ImageIdentity>> identify_image() = 0;
  // The session that the image names; 0: none. A program that changes the image without its store takes the number away
  // first, and store() takes it away when the image has its bitmaps. Not 0 if that is unknown after an error.
  virtual std::uint32_t session() const = 0;
  // The session of all changes from now on; 0: none. The image names it, durably, before its next change, or at the
  // next begin_use().
  virtual void set_session(std::uint32_t session) = 0;
  // As set_session(0), and the image names none when it returns, durably. After an error that is unknown. The node is
  // writable.
  virtual aio::Task<Result<>> leave_session() = 0;

 protected:
  ~ImageBitmaps() = default;
};

}  // namespace blockexport::block
