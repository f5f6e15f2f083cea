// load_image_for_writing(): reads what an ImageWriter needs beside the tables that readers have.
//
// Thread: the control reactor, while the image is opened.
#pragma once

#include <span>

#include "base/error.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"
#include "drivers/qcow2/write/image_writer.h"

namespace blockexport::drivers::qcow2 {

// `header`: checked for HeaderUse::kReadWrite. `l1`: the active L1 table. Fails for tables that cannot be read, and for
// an entry of the refcount table that no image has.
aio::Task<Result<ImageWriter::Image>> load_image_for_writing(const Header& header, const HeaderExtensions& extensions,
                                                             std::span<const std::uint64_t> l1, block::Node& file,
                                                             std::size_t clean_refcount_blocks_max);

}  // namespace blockexport::drivers::qcow2
