// Names inside images, translated to the options of the node that they stand for, as qemu-storage-daemon does.
//
// parse_image_name() is a pure function of untrusted bytes; any thread. resolve_image_name() also asks the file system
// for the type of the file, reads the beginning of an image whose format nobody gave, and keeps the policy. Thread: the
// control reactor.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/image_reference.h"
#include "drivers/reference_policy.h"
#include "schema/image_options.h"

namespace blockexport {
class Log;
}

namespace blockexport::drivers {

// Bytes that are read of an image of unknown format.
inline constexpr std::size_t kProbeBytesMax = 512;

// A backing file is a path, relative to the directory of `image_path`; or "file:PATH", "host_device:PATH", or
// "null-co://", where PATH is relative to the working directory; or "json:{...}". A data file is a path and nothing
// else, relative to the working directory. A name ends at its first NUL.
Result<schema::ImageOptions> parse_image_name(const block::ImageReference& reference, std::string_view image_path);

// Name of the format of an image that begins with these bytes: "qcow2", one of src/drivers/foreign, or "raw".
std::string_view probe_format(std::string_view bytes);

// See DriverTable::resolve(). `log`, which may be null, gets a warning when a format was probed.
aio::Task<Result<schema::BlockdevOptions>> resolve_image_name(block::ImageReference reference, std::string image_path,
                                                              const ReferencePolicy& policy, const Log* log);

}  // namespace blockexport::drivers
