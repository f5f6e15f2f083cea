// `blockexport image convert`: the disk of an image as a new image; results equal to those of `qemu-img convert`.
//
// Main thread.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "client/image/create_options.h"
#include "client/image/image_source.h"
#include "client/image/image_work.h"

namespace blockexport::image {

struct ConvertOptions {
  std::vector<ImageSource> sources = {};  // their disks follow one another
  CreateOptions target = {};              // its size is that of the sources; it has the objects, too
  unsigned tasks = kImageTasksDefault;
  std::string sparse_size = {};  // bytes of zeroes, at the least, that become a hole; empty: 4096; 0: none does
  bool is_compressed = false;
  bool is_existing = false;        // the target is not created
  bool target_is_options = false;  // the name of the existing target is options, as ImageSource has them
  bool target_is_zero = false;     // an existing target has zeroes alone
  bool with_bitmaps = false;
  bool shows_progress = false;
  bool force_share = false;
};

// Creates the target, and copies the disks. After an error there is no new file.
Result<> convert(const ConvertOptions& options);

}  // namespace blockexport::image
