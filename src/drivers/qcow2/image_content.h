// ImageContent: the metadata that a qcow2 image has outside of its tables, as read and checked when it is opened.
//
// read_image() reads header, extensions, L1 table, snapshots and bitmap directory, in the order and with the errors of
// qemu-storage-daemon. Memory is bounded by the limits of the format, whatever the image contains.
// Thread: the reactor of the calling task, inside the gate of an edge above or before the node has one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/node.h"
#include "drivers/qcow2/format/bitmap_directory.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"
#include "drivers/qcow2/format/snapshot_table.h"

namespace blockexport::drivers::qcow2 {

struct ImageContent {
  Header header = {};
  HeaderExtensions extensions = {};
  std::optional<std::string> backing_name = std::nullopt;  // as it stands in the image; never empty
  std::vector<std::uint64_t> l1 = {};                      // in the byte order of the host
  SnapshotTable snapshots = {};
  std::vector<StoredBitmap> bitmaps = {};
  // The image has bitmaps that a program without bitmaps made invalid by changing the image.
  bool has_invalid_bitmaps = false;
};

// The header of the image in `file`, and the rest of its first cluster, zeros included.
struct ImageBegin {
  Header header = {};
  std::vector<std::byte> first_cluster = {};
};
aio::Task<Result<ImageBegin>> read_image_begin(block::Node& file, HeaderUse use);

// The rest of the image. `begin`: of the same file.
aio::Task<Result<ImageContent>> read_image(block::Node& file, ImageBegin begin);

}  // namespace blockexport::drivers::qcow2
