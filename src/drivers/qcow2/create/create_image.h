// create_image(): writes a new qcow2 image into a node, and prepares its data file.
//
// First the old header, if there is one, is overwritten with zeros; then the tables and the data are written; the new
// header comes last, when everything before it is durable. So at no moment is there an image that shows anything but
// zeros, its backing file or its data file. The file may be longer than the image: it never becomes shorter. Long work
// is done in pieces, and can be paused and cancelled between them. Thread: the calling task's reactor.
#pragma once

#include <optional>
#include <string>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/edge.h"
#include "block/long_work.h"
#include "crypto/luks_volume.h"
#include "drivers/qcow2/create/creation.h"

namespace blockexport::drivers::qcow2 {

struct ImageFiles {
  // Root edges with the permissions to write and to resize; null: no data file. They outlive the call.
  block::Edge* file = nullptr;
  block::Edge* data_file = nullptr;
  std::string data_file_name = {};  // as it is to stand in the image
  // Of an image that is to be encrypted.
  crypto::Passphrase passphrase = nullptr;
};

// For a creation that check_creation() and check_sizes() accept.
aio::Task<Result<>> create_image(Creation creation, ImageFiles files, block::LongWork& work);

}  // namespace blockexport::drivers::qcow2
