// plan_bitmaps_extension(): the writes that change the bitmaps extension in the header of a qcow2 image, in an order
// that a crash cannot spoil.
//
// At each moment the header refers to the old directory, to the new one, or to none: the last only while a section that
// crosses the boundary of a sector changes, because the autoclear bit is cleared meanwhile. Pure; any thread.
// Source: docs/interop/qcow2.rst of QEMU, "Header extensions", "Bitmaps extension".
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <span>
#include <vector>

#include "base/errno.h"
#include "drivers/qcow2/format/header.h"
#include "drivers/qcow2/format/header_extensions.h"
#include "drivers/qcow2/format/header_write.h"

namespace blockexport::drivers::qcow2 {

// `first_cluster` and `header`: of an image of version 3, as they stand in it now. `bitmaps`: nullopt removes the
// section. ENOSPC: there is no space for it; ENOTSUP: the area of the sections has no end mark; EIO: the image is
// corrupt.
std::expected<std::vector<HeaderWrite>, Errno> plan_bitmaps_extension(std::span<const std::byte> first_cluster,
                                                                      const Header& header,
                                                                      const std::optional<BitmapsExtension>& bitmaps);

}  // namespace blockexport::drivers::qcow2
