// `blockexport image convert`: the disk of an image as a new image; results equal to those of `qemu-img convert`.
//
// Main thread.
#pragma once

#include <string>

#include "base/error.h"
#include "client/image/create_options.h"
#include "client/image/image_work.h"

namespace blockexport::image {

struct ConvertOptions {
  std::string source;
  std::string source_format = {};  // empty: as the file's begin tells
  CreateOptions target = {};       // its size is that of the source
  unsigned tasks = kImageTasksDefault;
  std::string sparse_size = {};  // bytes of zeroes, at the least, that become a hole; empty: 4096; 0: none does
  bool is_compressed = false;
  bool is_existing = false;     // the target is not created
  bool target_is_zero = false;  // an existing target has zeroes alone
  bool with_bitmaps = false;
  bool shows_progress = false;
  bool force_share = false;
};

// Creates the target, and copies the disk. After an error there is no new file.
Result<> convert(const ConvertOptions& options);

}  // namespace blockexport::image
